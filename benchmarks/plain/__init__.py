"""The plain Celery setup that mlq is measured against: the usual setup of users today."""
