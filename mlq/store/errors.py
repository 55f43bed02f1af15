"""Errors of what mlq keeps in Redis, by exit code."""

from __future__ import annotations

from mlq.errors import MlqError
from mlq.exit_codes import ExitCode

# 1: it failed


class BrokenRecord(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot read the record of job {job}: {reason}"
    hint = "another program has written to the job's keys; `mlq submit` the file again, with another --job-id"

    job: str
    reason: object
