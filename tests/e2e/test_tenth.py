"""A share of device time, measured by the model's log while another queue is saturated."""

from __future__ import annotations

from celery import Celery

from tests.conftest import Start, User

SECONDS = 0.005  # of each row
REALTIME = 900


def test_a_tenth_of_the_device_is_a_tenth_of_the_rows(user: User, client: Celery, start: Start) -> None:
    """All rows take the same time. While realtime is saturated for some seconds, batch gets about its share."""
    for queue, number in (("realtime", REALTIME), ("batch", REALTIME // 2)):
        for _ in range(number):
            client.send_task("mlq.predict", [{"of": queue, "sleep": SECONDS}], queue=queue)
    start("--cpus", "1", "--share", "batch=0.1")
    log = user.directory / "model.log"
    user.until(lambda: log.exists() and log.read_text().count("'realtime'") == REALTIME, "all realtime rows have run")
    ran = ["batch" if "'batch'" in line else "realtime" for line in log.read_text().splitlines()]
    saturated = ran[: len(ran) - ran[::-1].index("realtime")]
    assert 0.05 < saturated.count("batch") / len(saturated) < 0.2
    parts = [saturated[n * len(saturated) // 3 :][: len(saturated) // 3].count("batch") for n in range(3)]
    assert all(parts), f"in every third of the time: {parts}"
