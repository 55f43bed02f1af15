"""What is in Redis and who may move it: connections, depth, registry, the embedded server."""
