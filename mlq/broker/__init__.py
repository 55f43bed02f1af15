"""What is in Redis and who may move it: connections, depth, claims, leases, the embedded server."""
