"""Queues in Redis: names, depth, and who serves them."""
