"""A share keeps a queue moving that would starve under strict order."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery


@pytest.mark.parametrize(("share", "moves"), [([], False), (["--share", "batch=0.2"], True)])
def test_batch_moves_while_realtime_is_saturated(
    user: Any, client: Celery, start: Any, share: list[str], *, moves: bool
) -> None:
    """Without a share realtime always comes first. The model's log shows the order in which the rows ran."""
    rows = [("realtime", f"r{n}") for n in range(200)] + [("batch", f"b{n}") for n in range(20)]
    for queue, n in rows:
        client.send_task("mlq.predict", [{"n": n, "sleep": 0.001}], queue=queue)
    start("--cpus", "1", *share)
    log = user.directory / "model.log"
    user.until(lambda: log.exists() and len(log.read_text().splitlines()) == len(rows), "all have run")
    ran = ["b" if "'b" in line else "r" for line in log.read_text().splitlines()]
    before_the_end_of_realtime = "".join(ran).rstrip("b")
    assert ("b" in before_the_end_of_realtime) is moves
    assert ran.count("r") == 200
