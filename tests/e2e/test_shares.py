"""A share keeps a queue moving that strict order would starve."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery


@pytest.mark.parametrize(("share", "moves"), [([], False), (["--share", "batch=0.2"], True)])
def test_batch_moves_while_realtime_is_saturated(
    house: Any, client: Celery, start: Any, share: list[str], *, moves: bool
) -> None:
    """Without a share, realtime comes first for as long as there is any; what really ran says in which order."""
    rows = [("realtime", f"r{n}") for n in range(200)] + [("batch", f"b{n}") for n in range(20)]
    tasks = [client.send_task("mlq.predict", [{"n": n, "sleep": 0.001}], queue=queue) for queue, n in rows]
    start("--cpus", "1", *share)
    for task in tasks:
        task.get(timeout=60)
    ran = ["b" if "'b" in line else "r" for line in (house.directory / "model.log").read_text().splitlines()]
    before_the_end_of_realtime = "".join(ran).rstrip("b")
    assert ("b" in before_the_end_of_realtime) is moves
    assert ran.count("r") == 200
