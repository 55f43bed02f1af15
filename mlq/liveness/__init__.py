"""Liveness threads: they write heartbeats, renew leases, and recover the messages of workers whose lease expired."""
