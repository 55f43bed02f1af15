"""kill -9 of every process of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import job_kills

pytestmark = pytest.mark.server


@pytest.mark.timeout(200)
def test_a_job_under_ten_kills_has_the_output_of_an_undisturbed_one(state: Path) -> None:
    """The victims are client, workers and broker. A killed client is started again with --resume."""
    account = job_kills.run(state, kills=10, seed=3)
    assert account.same, str(account)
    assert account.kills.total() == 10, f"the job outlived them all: {account}"
