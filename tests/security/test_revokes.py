"""Revokes: no client can make workers ignore the revokes of other clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from redis import Redis

from mlq.ipc.shared_pages import MOST_REVOKED, NoticeReader, SupervisorNotices
from mlq.protocol import keys
from tests.conftest import Start, User
from tests.security.mailbox import Stranger, answers, command, frame


@pytest.fixture
def broker_redis(broker: str) -> Iterator[Redis]:
    """Return a client of the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        yield redis


@pytest.mark.timeout(180)
def test_invalid_ids_do_not_block_later_revokes(
    user: User, client: Celery, start: Start, broker: str, broker_redis: Redis
) -> None:
    """Ids of 3 MB overflowed the page that workers read, and each later revoke failed before its task was ended."""
    workers = start("--cpus", "1")
    stranger = Stranger(broker)
    task = client.send_task("mlq.predict", [{"sleep": 3600}], queue="realtime")
    user.until(lambda: user.json("worker")["workers"][0]["task"] == task.id, "it runs")
    stranger.publish(frame(command("revoke", {"task_id": ["x" * 700_000]})))
    stranger.publish(frame(command("revoke", {"task_id": ["x" * 3_000_000]})))
    for portion in range(6):  # of 512 bytes each: more than the page holds
        stranger.publish(
            frame(command("revoke", {"task_id": [f"{portion}-{n}".ljust(512, "\x01") for n in range(350)]}))
        )
    stranger.publish(frame(command("revoke", {"task_id": [f"{n:020}" for n in range(30_000)]})))
    stranger.publish(frame(command("revoke_by_stamped_headers", {"headers": {"a": ["b"] * 1000}})))
    stranger.publish(frame(command("revoke", {"task_id": [None, 5, {"a": 1}, ["b"], "", "\ud800"], "terminate": [1]})))
    client.control.revoke(task.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        task.get(timeout=90)
    assert workers.process.poll() is None
    assert broker_redis.zcard(keys.REVOKED) <= MOST_REVOKED
    assert all(len(member) <= 512 for member in broker_redis.zrange(keys.REVOKED, 0, -1))
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60)["row"] == 1


@pytest.mark.timeout(180)
def test_stamps_that_are_revoked_again_and_again_are_kept_once(
    user: User, client: Celery, start: Start, broker: str
) -> None:
    """Celery keeps each of them, each time, as long as the worker lives."""
    start("--cpus", "1")
    user.until(lambda: answers(client, "ping") == [{"ok": "pong"}], "the mailbox is open")
    (refused,) = answers(client, "revoke_by_stamped_headers", {"headers": {f"h{n}": ["s"] for n in range(1000)}})
    assert "error" in refused
    (refused,) = answers(
        client, "revoke_by_stamped_headers", {"headers": {"h": ["s"]}, "signal": "STOP", "terminate": 1}
    )
    assert "error" in refused
    stamps = [f"{n:0200}" for n in range(1000)]
    Stranger(broker).tell(*[command("revoke_by_stamped_headers", {"headers": {"batch": stamps}})] * 5)
    (reply,) = answers(client, "revoke_by_stamped_headers", {"headers": {"batch": ["mine"]}}, timeout=10)
    assert "ok" in reply
    task = client.send_task(
        "mlq.predict", [1], queue="realtime", headers={"stamped_headers": ["batch"], "stamps": {"batch": "mine"}}
    )
    with pytest.raises(TaskRevokedError):
        task.get(timeout=60)


@pytest.mark.parametrize(
    "written", ["x" * 512, "\x01" * 512, "\N{PILE OF POO}" * 128], ids=["plain", "escaped", "wide"]
)
def test_the_page_of_notices_never_overflows(written: str) -> None:
    """It keeps the latest revokes that fit, and tickets of other clients fit beside them."""
    notices = SupervisorNotices()
    ids = [f"{n:05}{written}"[: len(written)] for n in range(3 * MOST_REVOKED)]
    notices.revoke([*ids, "", "y" * 513, "mine"])
    for n in range(200):
        notices.answered(f"{n}{'t' * 10**6}")
    reader = NoticeReader(notices.page)
    found = reader.revoked() or []
    assert (found[-1], len(found) <= MOST_REVOKED, "" in found) == ("mine", True, False)
    assert reader.is_answered("199" + "t" * 10**6)
    notices.page.close()
