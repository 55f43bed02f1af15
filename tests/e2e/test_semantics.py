"""Celery's promises hold for every message: a stock client cannot tell mlq's workers from Celery's."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import Celery, chain, group
from celery.exceptions import TaskRevokedError, TimeoutError, WorkerLostError  # noqa: A004 (Celery's own)

from tests.e2e.conftest import World

GET_S = 30
AT_MOST_PACED = 4
ANSWERED: dict[str, Any] = {"reply": True, "limit": 1, "timeout": 20}
SETEX = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # raised by Celery's client

ESCAPING = """
from celery import Task, shared_task

class Greedy(Task):
    def before_start(self, *args):
        raise MemoryError

@shared_task(name="own.escapes", base=Greedy)
def escapes():
    pass
"""
"""Tasks with a hook that raises a MemoryError: Celery's tracer does not catch it, and the worker ends."""


def control_reply(world: World, client: Celery, word: str, *arguments: Any) -> dict[str, str]:
    """Send a control message until the only worker listens, and return its reply."""
    world.user.until(lambda: client.control.ping(timeout=1), "the worker listens")
    ((said,),) = [reply.values() for reply in getattr(client.control, word)(*arguments, **ANSWERED)]
    return dict(said)


def test_a_task_of_the_user_runs_beside_the_model(world: World, client: Celery) -> None:
    """Pre- and post-processing runs in the same workers as the model."""
    world.start()
    assert client.send_task("own.add", [1, 2]).get(timeout=GET_S) == 3
    assert client.send_task("mlq.predict", [4]).get(timeout=GET_S)["row"] == 4


def test_a_retry_without_countdown_runs_at_once(world: World, client: Celery) -> None:
    """The retry is published in the step that ends the try before it, so neither can exist alone."""
    world.start()
    assert client.send_task("own.twice", [0]).get(timeout=GET_S) == 1
    assert world.ran() == ["twice 0", "twice 1"]


def test_a_retry_with_a_countdown_waits_in_redis_not_in_a_worker(world: World, client: Celery) -> None:
    """Stock workers keep such messages in memory, and lose track of them when they die."""
    world.start()
    task = client.send_task("own.twice", [1])
    world.user.until(lambda: world.delayed() == 1, "the retry is in the delay list")
    assert world.claimed() == 0
    assert task.state == "RETRY"
    assert task.get(timeout=GET_S) == 1


def test_a_transient_failure_of_the_model_is_a_retry_that_clients_see(world: World, client: Celery) -> None:
    """A feature store that is away for a moment does not fail a request."""
    world.user.write("away.py", "class Model:\n    def predict(self, rows):\n        raise ConnectionError('away')\n")
    world.start(model="away.py:Model")
    task = client.send_task("mlq.predict", [1])
    world.user.until(lambda: task.state == "RETRY", "the retry is seen")
    world.user.until(lambda: world.delayed() == 1, "the retry waits in the delay list")


def test_a_task_with_a_countdown_does_not_block_a_worker(world: World, client: Celery) -> None:
    """The worker stays free: a task that was sent later and is due runs first."""
    world.start()
    later = client.send_task("own.note", ["later"], countdown=2)
    world.user.until(lambda: world.delayed() == 1, "it is in the delay list")
    client.send_task("own.note", ["now"]).get(timeout=GET_S)
    later.get(timeout=GET_S)
    assert world.ran() == ["now", "later"]


@pytest.mark.parametrize("task", ["own.add", "mlq.predict"])
def test_a_link_gets_the_result(world: World, client: Celery, task: str) -> None:
    """A link on the model's task works like any other, because such messages are left to Celery."""
    world.start()
    arguments = [1, 2] if task == "own.add" else [3]
    result = client.send_task(task, arguments, link=client.signature("own.note", ["linked"]))
    result.get(timeout=GET_S)
    world.user.until(lambda: any("linked" in line for line in world.ran()), "the link ran")
    (line,) = [line for line in world.ran() if "linked" in line]
    assert line.startswith("3" if task == "own.add" else "{'row': 3")


@pytest.mark.parametrize("task", ["own.fails", "mlq.predict"])
def test_a_link_error_gets_the_failed_tasks_id(world: World, client: Celery, task: str) -> None:
    """A client's clean-up learns of a failure this way."""
    world.start()
    argument = "broken" if task == "own.fails" else {"fail": "broken"}
    result = client.send_task(task, [argument], link_error=client.signature("own.sorry"))
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=GET_S)
    world.user.until(lambda: bool(world.ran()), "the errback ran")
    assert world.ran() == [f"sorry {result.id}"]


def test_a_chain_passes_each_result_on(world: World, client: Celery) -> None:
    """Workflows of other clients use the model as one of their steps."""
    world.start()
    steps = [client.signature("own.add", [1, 2]), client.signature("own.add", [4]), client.signature("mlq.predict")]
    assert chain(*steps, app=client).apply_async().get(timeout=GET_S)["row"] == 7


def test_a_group_is_answered_in_its_order(world: World, client: Celery) -> None:
    """Messages with group headers are left to Celery. The client sees order and results."""
    world.start()
    members = [client.signature("mlq.predict", [n]) for n in range(10)]
    answers = group(members, app=client).apply_async().get(timeout=GET_S)
    assert [a["row"] for a in answers] == list(range(10))


@pytest.mark.parametrize("task", ["own.note", "mlq.predict"])
def test_an_expired_task_is_revoked_and_never_run(world: World, client: Celery, task: str) -> None:
    """No client waits for it any more, and the device has other work."""
    world.start()
    late = client.send_task(task, ["late"], expires=datetime.now(timezone.utc) - timedelta(minutes=1))
    with pytest.raises(TaskRevokedError):
        late.get(timeout=GET_S)
    assert world.ran() == []
    assert not world.predicted()


@pytest.mark.parametrize("task", ["own.note", "mlq.predict"])
def test_a_task_that_was_revoked_before_it_ran_never_runs(world: World, client: Celery, task: str) -> None:
    """This includes delayed tasks, which a user is most likely to revoke."""
    world.start()
    unwanted = client.send_task(task, ["unwanted"], countdown=2)
    world.user.until(lambda: world.delayed() == 1, "it waits")
    client.control.revoke(unwanted.id)
    with pytest.raises(TaskRevokedError):
        unwanted.get(timeout=GET_S)
    assert world.ran() == []
    assert not world.predicted()


@pytest.mark.parametrize("task", ["own.note", "mlq.predict"])
def test_an_ignored_result_leaves_no_key(world: World, client: Celery, task: str) -> None:
    """Tasks whose results are ignored must not fill the store."""
    world.start()
    ignored = client.send_task(task, ["ignored"], ignore_result=True)
    client.send_task("own.note", ["after"]).get(timeout=GET_S)
    world.user.until(lambda: world.claimed() == 0, "both are acknowledged")
    assert not world.redis.exists(f"celery-task-meta-{ignored.id}")
    assert len(world.ran() + world.predicted()) == 2


def test_a_task_that_is_acknowledged_early_runs_at_most_once(world: World, client: Celery) -> None:
    """Its author prefers no run to a second one. It must not run again after a death, and its client gets a failure."""
    world.start()
    task = client.send_task("own.once", [str(world.user.directory / "never")])
    world.user.until(lambda: world.ran() == ["once"], "it runs")
    assert world.claimed() == 0
    world.kill()
    with pytest.raises(WorkerLostError, match="acknowledged before"):
        task.get(timeout=GET_S)
    client.send_task("own.note", ["after"]).get(timeout=GET_S)
    assert world.ran() == ["once", "after"]


def test_no_message_is_blamed_for_the_overrun_of_a_task_that_was_acknowledged_early(
    world: World, client: Celery
) -> None:
    """Its claim has ended, and the other messages of the worker have no part in it."""
    world.start()
    for n in range(2):  # the worker holds the second one, too
        client.send_task("own.paced_once", [n])
    late = client.send_task("own.once", [str(world.user.directory / "never")], time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        late.get(timeout=GET_S)
    world.user.until(lambda: world.ran() == ["paced_once 0", "once", "paced_once 1"], "the next worker goes on")
    assert world.user.json("dead")["entries"] == []


def test_a_task_that_was_acknowledged_early_can_be_revoked_while_it_runs(world: World, client: Celery) -> None:
    """Its message is gone, so no other worker could find it revoked."""
    world.start()
    task = client.send_task("own.once", [str(world.user.directory / "never")])
    world.user.until(lambda: world.ran() == ["once"], "it runs")
    world.user.until(lambda: client.control.ping(timeout=1), "a worker listens")
    client.control.revoke(task.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        task.get(timeout=GET_S)


def test_a_rate_limit_keeps_the_order_and_leaves_the_rest_to_other_workers(world: World, client: Celery) -> None:
    """A worker that may run ten tasks a second must not hold a thousand."""
    world.start()
    began = time.monotonic()
    tasks = [client.send_task("own.paced", [n]) for n in range(12)]
    world.user.until(lambda: world.claimed() == AT_MOST_PACED, "a few wait in its hands")
    assert [task.get(timeout=GET_S) for task in tasks] == list(range(12))
    assert time.monotonic() - began > 11 * 0.1 - 0.01
    assert world.ran() == [f"paced {n}" for n in range(12)]


def test_a_rate_limited_message_is_not_acknowledged_and_blocks_no_other(world: World, client: Celery) -> None:
    """It has not run, so a death gives it back. In the meantime the model answers other messages."""
    world.start()
    for n in range(3):
        client.send_task("own.paced_once", [n])
    assert client.send_task("mlq.predict", ["another"]).get(timeout=GET_S)["row"] == "another"
    assert (world.ran(), world.claimed()) == (["paced_once 0"], 2)
    world.kill()
    world.user.until(lambda: world.ran() == ["paced_once 0", "paced_once 1"], "the next worker has a limit of its own")
    world.user.until(lambda: world.claimed() == 1, "and nothing was lost")


def test_the_models_tasks_can_get_a_rate_limit(world: World, client: Celery) -> None:
    """By `celery control rate_limit`: a limit that was confirmed must be kept, and so must its removal."""
    world.start()
    assert "ok" in control_reply(world, client, "rate_limit", "mlq.predict", "1/h")
    tasks = [client.send_task("mlq.predict", [n]) for n in range(3)]
    assert tasks[0].get(timeout=GET_S)["row"] == 0
    world.user.until(lambda: world.claimed() == 2, "the others wait")
    assert "ok" in control_reply(world, client, "rate_limit", "mlq.predict", 0)
    assert [task.get(timeout=GET_S)["row"] for task in tasks] == [0, 1, 2]


@pytest.mark.parametrize("change", ["add_consumer", "cancel_consumer"])
def test_a_worker_refuses_to_change_its_queues(world: World, client: Celery, change: str) -> None:
    """Celery would confirm the change, and messages would go back and forth."""
    world.user.environment["MLQ_CONTROLS"] = "all"
    world.start()
    assert "mlq queues pause" in control_reply(world, client, change, "batch")["error"]
    assert client.send_task("mlq.predict", [1], queue="batch").get(timeout=GET_S)["row"] == 1


@pytest.mark.parametrize("task", ["mlq.predict", "mlq.batch_predict", "own.add"])
def test_a_wrong_number_of_arguments_is_the_callers_failure(world: World, client: Celery, task: str) -> None:
    """The client gets Python's own error, and the next message gets an answer."""
    world.start()
    with pytest.raises(TypeError, match="argument"):
        client.send_task(task, [1, 2, 3]).get(timeout=GET_S)
    assert client.send_task("own.add", [1, 2]).get(timeout=GET_S) == 3


def test_a_long_task_is_seen_as_started(world: World, client: Celery) -> None:
    """Short tasks are not announced, which would cost more than running them."""
    world.start()
    gate = world.user.directory / "gate"
    tasks = [client.send_task("mlq.predict", [{"wait_for": str(gate), "n": n}]) for n in range(2)]
    world.user.until(lambda: all(t.state == "STARTED" for t in tasks[:1]), "it is seen as started")
    gate.touch()
    assert [t.get(timeout=GET_S)["row"]["n"] for t in tasks] == [0, 1]


def test_monitors_get_the_events_of_plain_messages_once_they_ask(world: World, client: Celery) -> None:
    """Flower and other dashboards need these events, so the short path is not taken while a monitor listens."""
    world.start()
    assert "ok" in control_reply(world, client, "enable_events")
    seen: list[tuple[str, str]] = []
    task_id = str(uuid.uuid4())

    def beat(_: Any) -> None:
        if not seen:  # the first event shows that this receiver is subscribed
            client.send_task("mlq.predict", [1], task_id=task_id)
        seen.append(("worker-heartbeat", ""))

    def note(event: Any) -> None:
        seen.append((event["type"], event["uuid"]))
        if event["type"] == "task-succeeded":
            receiver.should_stop = True

    with client.connection_for_read() as connection:
        handlers = {"worker-heartbeat": beat, "task-received": note, "task-started": note, "task-succeeded": note}
        receiver: Any = client.events.Receiver(connection, handlers=handlers)
        receiver.capture(limit=None, timeout=GET_S, wakeup=False)
    events = [name for name, about in seen if about == task_id]
    assert events == ["task-received", "task-started", "task-succeeded"]


@pytest.mark.parametrize("store", ["another_server", "another_database"])
def test_results_may_be_in_another_store(
    world: World, broker: str, other_server_url: str, client: Celery, store: str
) -> None:
    """Links, failures and plain answers all arrive where the client reads them."""
    backend = other_server_url if store == "another_server" else f"{broker}?virtual_host=1"
    world.start(MLQ_RESULT_BACKEND=backend)
    client.conf.update(result_backend=backend)
    plain = client.send_task("mlq.predict", [1], link=client.signature("own.note", ["linked"]))
    assert plain.get(timeout=GET_S)["row"] == 1
    with pytest.raises(ValueError, match="broken"):
        client.send_task("mlq.predict", [{"fail": "broken"}]).get(timeout=GET_S)
    assert client.send_task("own.twice", [0]).get(timeout=GET_S) == 1
    world.user.until(lambda: any("linked" in line for line in world.ran()), "the link ran")
    assert not world.redis.keys("celery-task-meta-*")


@pytest.mark.parametrize("task", ["own.add", "mlq.predict"])
def test_a_worker_that_dies_before_it_acknowledges_does_not_run_the_link_twice(
    world: World, client: Celery, task: str
) -> None:
    """The body may run again, but its link is published together with the task's end, or not at all."""
    world.hold()
    world.start(imports="own_tasks,holding")
    arguments = [1, 2] if task == "own.add" else [3]
    result = client.send_task(task, arguments, link=client.signature("own.note", ["linked"]))
    world.user.until(lambda: "held" in world.ran(), "the task has ended and is not acknowledged")
    assert result.state in {"PENDING", "STARTED"}
    world.kill()
    result.get(timeout=GET_S)
    # The link was published to this queue before the result was recorded, so this message is behind all links.
    client.send_task("own.note", ["after"], queue="default").get(timeout=GET_S)
    assert [line.split()[-1] for line in world.ran() if line.endswith(("linked", "after"))] == ["linked", "after"]


@pytest.mark.usefixtures("broker")
def test_a_module_that_cannot_be_imported_is_named_before_a_message_is_claimed(user: Any) -> None:
    """The exit code is 3, with the setting: such a worker would dead-letter the user's own tasks as unknown."""
    user.environment["MLQ_WORKER_IMPORTS"] = "nowhere"
    done = user.run("worker", "start", "--cpus", "1", "--model", "serve.py:Model")
    assert done.returncode == 3
    assert "No module named 'nowhere'" in done.stderr
    assert "MLQ_WORKER_IMPORTS" in done.stderr


def test_a_task_without_memory_fails_alone(world: World, client: Celery) -> None:
    """At a MemoryError Celery ends the worker. The message would go to the next worker, and end that one, too."""
    world.start()
    pid = world.workers.pids()["cpu0"]
    with pytest.raises(MemoryError, match="no memory for this"):
        client.send_task("own.too_much").get(timeout=GET_S)
    assert client.send_task("own.add", [1, 2]).get(timeout=GET_S) == 3
    assert (world.ran(), world.workers.pids()["cpu0"]) == (["too_much"], pid)


def test_a_failure_that_is_not_acknowledged_is_still_recorded(world: World, client: Celery) -> None:
    """The client gets the failure and its errback runs. The message is gone, as with Celery's own transport."""
    world.start()
    failed = client.send_task("own.unacked", ["no"], link_error=client.signature("own.sorry"))
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=GET_S)
    world.user.until(lambda: world.ran() == [f"sorry {failed.id}"], "the errback ran")
    world.user.until(lambda: world.claimed() == 0, "nothing is held")


def test_a_message_that_celery_cannot_decode_is_dead_lettered_and_answered(world: World, client: Celery) -> None:
    """Celery would acknowledge it silently. It is valid JSON, but has a type that Celery does not know here."""
    world.start()
    odd = client.send_task("own.note", [{"__type__": "nobody.knows", "__value__": 1}])
    with pytest.raises(Exception, match="rejected"):
        odd.get(timeout=GET_S)
    assert [e["reason"] for e in world.user.json("dead")["entries"]] == ["rejected"]


def test_an_exception_that_ends_the_worker_counts_as_a_crash_of_its_message(world: World, client: Celery) -> None:
    """The message would end every next worker. After three it is a dead letter."""
    world.user.write("escaping.py", ESCAPING)
    world.start(imports="own_tasks,escaping")
    with pytest.raises(WorkerLostError):
        client.send_task("own.escapes").get(timeout=60)
    assert [e["reason"] for e in world.user.json("dead")["entries"]] == ["crash"]
    world.user.until(lambda: bool(world.leases()), "there is a worker again")
    assert client.send_task("own.add", [1, 2]).get(timeout=GET_S) == 3


def test_a_paused_queue_with_messages_keeps_no_worker_busy(world: World, client: Celery) -> None:
    """Its messages are no work. A worker that polled them again at once would poll without end."""
    world.start()
    world.user.run("queues", "pause", "batch")
    client.send_task("own.add", [1, 2], queue="batch")
    before = world.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    with pytest.raises(TimeoutError):
        client.send_task("own.add", [1, 2], queue="batch").get(timeout=4)
    calls = world.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls < 100
    resumed = client.send_task("own.add", [2, 2], queue="batch")
    world.user.run("queues", "resume", "batch")
    assert resumed.get(timeout=GET_S) == 4


def test_a_worker_claims_only_as_many_stock_batches_as_it_runs(world: World, client: Celery) -> None:
    """Redis counts each message as one row.

    A worker that claimed a batch of such rows would give nearly all of them back.
    """
    sent = [client.send_task("mlq.batch_predict", [[n] * 200]) for n in range(100)]
    world.start()
    assert [len(task.get(timeout=GET_S)) for task in sent] == [200] * 100
    given_back = world.redis.info("commandstats")["cmdstat_rpush"][
        "calls"
    ]  # to the head of a list: messages that are given back
    assert given_back < len(sent) / 4
