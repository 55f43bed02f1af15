"""Inside the worker process: messages taken, run and answered; the pool, the heartbeat."""
