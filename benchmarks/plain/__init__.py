"""The plain Celery setup that mlq is measured against: what users have today."""
