"""The cost of mlq beside a plain Celery setup, rq and dramatiq in the same run: ratios first, figures second."""
