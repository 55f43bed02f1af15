"""Faults against mlq and a plain Celery setup: kills, frozen servers, cut connections; an account of every message."""
