"""Sentinel: if the primary dies, the workers follow to the next one, and no message that a replica had is lost."""

from __future__ import annotations

import pytest

from chaos.reliability import sentinel

pytestmark = pytest.mark.server


@pytest.mark.timeout(180)
def test_work_goes_on_when_the_primary_is_killed_under_load() -> None:
    """A submit that waited for a replica is answered.

    Other messages may be lost, because Redis replicates with a delay.
    """
    fail_over = sentinel.measure(wait=True)
    assert fail_over.again_s is not None
    assert fail_over.lost == 0
