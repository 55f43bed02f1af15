"""Jobs in Redis: their stream of results and their tokens."""
