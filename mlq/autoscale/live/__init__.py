"""The autoscaler that runs: signals from Redis, decisions, workers started and stopped."""
