"""Kill -9 of everything around a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import job_kills

pytestmark = pytest.mark.server


@pytest.mark.timeout(200)
def test_a_job_under_ten_kills_has_the_output_of_an_undisturbed_one(state: Path) -> None:
    """Client, workers and broker; the client is started again with --resume whenever it was the victim."""
    account = job_kills.run(state, kills=10, seed=3)
    assert account.same, str(account)
    assert account.kills.total() == 10, f"the job outlived them all: {account}"
