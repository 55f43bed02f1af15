"""The engine of a worker process: it claims messages, runs the model on their rows and records the results."""
