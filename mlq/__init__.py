"""mlq: operate inference workers on Celery and Redis."""

from typing import Final

__version__ = "0.1.0"

DISTRIBUTION: Final = "mlq-cli"
"""What to install: PyPI has another project that is named mlq. Also in mlq_cli.py, see there."""
