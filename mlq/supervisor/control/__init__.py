"""How a supervisor answers Celery's control messages for workers that are busy."""
