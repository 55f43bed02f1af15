"""Faults against mlq and a plain Celery setup: kills, frozen servers, cut wires; and an account of every message."""
