"""The running autoscaler: it reads signals from Redis, decides, and starts and drains workers."""
