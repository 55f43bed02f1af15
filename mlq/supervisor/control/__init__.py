"""The supervisor's answers to Celery's control messages, for workers that are busy."""
