"""Startup checks: what a worker verifies before it claims its first message."""
