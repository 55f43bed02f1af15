"""Inside the worker process: the pool, what the worker is doing, its heartbeat."""
