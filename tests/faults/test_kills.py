"""kill -9 of loaded workers at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import kills

pytestmark = pytest.mark.server


@pytest.mark.timeout(400)
def test_a_hundred_kills_lose_no_task_and_record_none_twice(state: Path) -> None:
    """Stock Celery loses messages between BRPOP and the write to `unacked`; mlq has no such moment."""
    account = kills.run(state, kills=100, seed=7)
    print(account)  # noqa: T201 (extra executions are no failure, but worth seeing)
    assert account.holds, str(account)
    assert account.submitted > 1000, "the workers were under load"
