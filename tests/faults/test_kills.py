"""Kill -9 of loaded workers, at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import kills

pytestmark = pytest.mark.server


@pytest.mark.timeout(400)
def test_a_hundred_kills_lose_nothing_and_record_nothing_twice(state: Path) -> None:
    """Stock Celery loses what was between BRPOP and the write to `unacked`; here there is no such moment."""
    account = kills.run(state, kills=100, seed=7)
    print(account)  # noqa: T201 (extra executions are no failure, but worth to be seen)
    assert account.holds, str(account)
    assert account.submitted > 1000, "the workers were under load"
