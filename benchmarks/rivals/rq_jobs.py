"""The inference as an rq job.

rq worker --worker-class rq.SimpleWorker realtime     the fastest form: the usual worker forks for each job
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks import model

_answer = model.answering(os.environ["BENCH_MODEL"])


def predict(row: Any) -> Any:
    """Answer one row."""
    return _answer([row])[0]
