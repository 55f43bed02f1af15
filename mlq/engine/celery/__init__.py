"""Where the engine replaces or calls parts of Celery and kombu."""
