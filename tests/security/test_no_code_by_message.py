"""No message runs code: no name in it is imported, unpickled or called, and its worker goes on."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import Start, User

BATCH = 80


class Touch:
    """A pickle that creates a file in the process that loads it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self._path),)


def message(body: bytes, headers: dict[str, Any], **changes: Any) -> bytes:
    """Return a message of protocol 2 as kombu writes it; `changes` are of its envelope and its properties."""
    task_id = str(uuid.uuid4())
    properties = {"correlation_id": task_id, "delivery_mode": 2, "delivery_tag": task_id, "body_encoding": "base64"}
    properties["delivery_info"] = {"exchange": "", "routing_key": "realtime"}
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": "mlq.predict", "id": task_id, "root_id": task_id, "argsrepr": "", **headers},
        "properties": properties,
    }
    return json.dumps({**envelope, **changes}).encode()


def body(*args: Any, **embed: Any) -> bytes:
    """Return a body of protocol 2."""
    known = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps([args, {}, {**known, **embed}]).encode()


def hostile(victim: Path) -> list[bytes]:
    """Return messages that each try to create a file, in a way that worked in some reader of messages."""
    pickled = pickle.dumps(Touch(victim))
    yaml = f"!!python/object/apply:os.system ['touch {victim}']".encode()
    shell = f"touch {victim}"
    called: dict[str, Any] = {"task": "os.system", "args": [shell], "kwargs": {}, "options": {}, "subtask_type": None}
    typed = {"__type__": "os.system", "__value__": shell}
    failing = {"fail": "no"}
    python = "application/x-python-serialize"
    return [
        message(pickled, {}, **{"content-type": python, "content-encoding": "binary"}),
        message(pickled, {}, **{"content-type": "application/pickle", "content-encoding": "binary"}),
        message(pickled, {}),
        message(pickled, {"content_type": python, "serializer": "pickle"}),
        message(yaml, {}, **{"content-type": "application/x-yaml"}),
        message(yaml, {}),
        *(
            message(body(shell), {"task": name})
            for name in ("os.system", "builtins.exec", "subprocess.call", "os:system")
        ),
        message(body([shell], {}), {"task": "celery.map", "argsrepr": "x"}),
        message(body(called, [[shell]]), {"task": "celery.starmap"}),
        message(body(typed), {"task": "own.unknown"}),
        message(body({"__type__": "uuid", "__value__": {"hex": "no", "int": shell}}), {}),
        message(body({"__type__": ["os", "system"], "__value__": None}), {}),
        message(body({"py/object": "os.system", "py/reduce": [shell]}), {}),
        message(body(failing, errbacks=[called]), {}),
        message(body(failing, errbacks=[{**called, "task": ["os.system"]}]), {}),
        message(body(1, callbacks=[called]), {}),
        message(body(1, chain=[called]), {}),
        message(body(1, chord=called), {"group": str(uuid.uuid4())}),
        message(body(failing, errbacks=[{**called, "options": {"serializer": "pickle"}}]), {}),
        message(body(1, callbacks=[{**called, "options": {"serializer": "yaml", "compression": "x"}}]), {}),
        message(body(1), {"compression": "application/x-python"}),
        message(body(1), {"replaced_task_nesting": "0; os.system", "stamps": {"x": called}, "stamped_headers": ["x"]}),
        message(body(1), {"task": {"py/object": "os.system"}}),
        message(body(1), {"task": ["os.system"]}),
        message(body(1), {"task": "os.system", "id": ["x"]}),
        message(body(1), {"task": "os.system", "id": None}),
        message(body(1), {"id": {"py/object": "os.system"}}),
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pool", [[], ["--pool", "prefork", "--concurrency", "1"]], ids=["engine", "prefork"])
def test_only_registered_tasks_run(user: User, start: Start, client: Celery, broker: str, pool: list[str]) -> None:
    """80 hostile messages in a row: no file is created, the worker's process stays, and it answers the next message."""
    victim = user.directory / "pwned"
    running = start(*(pool or ["--cpus", "1"]))
    pids = running.pids()
    messages = hostile(victim)
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as redis:
        for at in range(BATCH):
            redis.lpush("realtime", messages[at % len(messages)])
        assert client.send_task("mlq.predict", ["next"], queue="realtime").get(timeout=90)["row"] == "next"
        user.until(lambda: not redis.llen("realtime"), "all are taken")
    assert not victim.exists()
    assert running.pids() == pids
    assert [worker["state"] for worker in user.json("worker")["workers"]] == ["idle"]
    if not pool:  # Celery's own consumer has no dead letters
        assert user.json("dead")["entries"]
