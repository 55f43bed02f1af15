"""Threads that keep workers alive in Redis: heartbeats, leases, and what follows from a lease that has expired."""
