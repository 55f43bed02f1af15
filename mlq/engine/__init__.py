"""Inside the worker process, between queue and model: messages taken, run and answered."""
