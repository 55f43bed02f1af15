"""Each row of chaos/RELIABILITY.md holds for mlq, and the harness detects the losses of the plain setup."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.reliability import faults
from chaos.reliability.faults import FAULTS, Fault
from chaos.reliability.setups import MLQ, PLAIN, Setup
from chaos.reliability.soak import soak
from chaos.reliability.stage import Outcome

pytestmark = pytest.mark.server


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_costs_no_work(fault: Fault) -> None:
    """One fault at a time, with figures for the report."""
    outcome = fault.run(MLQ)
    assert outcome.holds, f"{outcome.said}; it must be: {fault.must}"


@pytest.mark.timeout(180)
def test_many_faults_at_once_cost_no_work() -> None:
    """No task is lost, stuck or recorded twice. `make reliability` has 500 faults, `make soak` 10,000."""
    account = soak(MLQ, tasks=500, faults=25, seed=1)
    assert account.holds, account


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [faults.server_killed, faults.memory_evicts])
def test_the_harness_sees_what_the_plain_setup_loses(fault: Callable[[Setup], Outcome]) -> None:
    """The negative control: a harness that never detects a loss proves nothing."""
    assert not fault(PLAIN).holds
