"""What a supervisor does after a worker has died."""
