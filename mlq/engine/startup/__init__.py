"""What a worker checks before it takes its first message."""
