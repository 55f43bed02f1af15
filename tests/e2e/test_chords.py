"""Chords of Celery's clients: no consequence is visible before its cause, and a worker's death loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, chain, chord, group

from tests.e2e.conftest import World

GET_S = 30

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # raised by Celery's client


def add(client: Celery, *numbers: int) -> Any:
    """Return the task that adds two numbers, of which one may be the previous result."""
    return client.signature("own.add", numbers)


def total(client: Celery) -> Any:
    """Return the body that adds up the results of the parts."""
    return client.signature("own.total_of_all")


def fails(client: Celery) -> Any:
    """Return a task that fails with any argument."""
    return client.signature("own.fails", ["broken"], immutable=True)


def test_a_worker_that_dies_with_the_last_part_of_a_chord_does_not_lose_its_body(world: World, client: Celery) -> None:
    """Stock Celery deletes the chord's parts before it acknowledges, so a part that runs again finds none."""
    world.start(imports="own_tasks,holding")
    parts = [client.signature("own.add", [n, 0]) for n in (1, 2)]
    gate = world.user.directory / "gate"
    gated = client.signature("own.gated", [str(gate), 3])
    body = chord([*parts, gated], app=client)(client.signature("own.total"))
    world.user.until(lambda: "gated" in world.ran(), "the last part runs")
    world.hold()
    gate.touch()
    world.user.until(lambda: "held" in world.ran(), "the last part has ended and is not acknowledged")
    world.kill()
    assert body.get(timeout=GET_S) == 6
    client.send_task("own.note", ["after"], queue="default").get(timeout=GET_S)
    assert world.ran().count("total") == 1


def test_a_chord_of_groups_and_chains_ends(world: World, client: Celery) -> None:
    """Celery joins the results of such parts one by one, including the last part, whose end is not recorded yet."""
    world.start()
    add = [client.signature("own.add", [n, 1]) for n in range(4)]
    fanned = chain(client.signature("own.add", [1, 1]), group(client.signature("own.add", [5])))
    nested = chord([fanned, *add], app=client)
    assert nested(client.signature("own.total_of_all")).get(timeout=GET_S) == 17


def test_a_chord_of_twenty_calls_its_body_once(world: World, client: Celery) -> None:
    """Parts of both kinds share a worker, and end in any order."""
    world.start()
    parts = [client.signature("mlq.predict", [n]) if n % 2 else client.signature("own.add", [n, 0]) for n in range(20)]
    assert chord(parts, app=client)(client.signature("own.total")).get(timeout=GET_S) == sum(range(20))
    assert world.ran().count("total") == 1


def failing_headers(client: Celery) -> dict[str, list[Any]]:
    """Return headers of chords in which one part fails, each at another position."""
    return {
        "a single task": [fails(client)],
        "one of many": [add(client, 1, 1), fails(client), add(client, 2, 2)],
        "the head of a chain": [chain(fails(client), add(client, 1), add(client, 2))],
        "the end of a chain": [add(client, 1, 1), chain(add(client, 1, 1), fails(client))],
        "a group in a chain": [chain(add(client, 1, 1), group(add(client, 5), fails(client)))],
        "a body of a chord": [chord([add(client, 1, 1), add(client, 2, 2)], fails(client), app=client)],
    }


@pytest.mark.parametrize("place", list(failing_headers(Celery(set_as_current=False))))
def test_a_chord_fails_with_the_error_of_its_part(world: World, client: Celery, place: str) -> None:
    """The body fails because of the part. A client that sees the body's failure first gets a ChordError."""
    world.start(ready=2)
    for _ in range(5):
        body = total(client)
        body.link_error(client.signature("own.regrets"))
        result = chord(failing_headers(client)[place], app=client)(body)
        world.user.until(result.ready, "the body has failed")
        with pytest.raises(ValueError, match="broken"):  # a client checks the parts first
            result.get(timeout=GET_S)
    regrets = [line.split()[1:] for line in world.ran() if line.startswith("regrets")]
    assert [kind for _, kind in regrets] == ["ChordError"] * 5


def test_a_body_runs_when_all_its_parts_have_their_results(world: World, client: Celery) -> None:
    """The body may read these results, and so may its client."""
    world.start(ready=2)
    for _ in range(10):
        parts = [add(client, n, n) for n in range(6)]
        ids = [part.freeze().id for part in parts]
        states = chord(parts, app=client)(client.signature("own.states_of", [ids])).get(timeout=GET_S)
        assert states == ["SUCCESS"] * 6


def test_parts_that_a_part_adds_belong_to_the_chord(world: World, client: Celery) -> None:
    """Tasks and whole chords may be added. All have the index of the part that adds them."""
    world.start(ready=2)
    adding = [client.signature("own.adds", [10], {"many": 4}), client.signature("own.adds_a_chord", [[1, 2, 3]])]
    assert chord(adding, app=client)(total(client)).get(timeout=GET_S) == 10 + (10 + 11 + 12 + 13) + (1 + 2 + 3)


def test_groups_in_chains_in_groups_end(world: World, client: Celery) -> None:
    """The parts of an inner group share one index of the outer chord."""
    world.start(ready=2)
    inner = chain(add(client, 1), group(add(client, 10), add(client, 20), chain(add(client, 30), add(client, 1))))
    nested = chain(add(client, 1, 1), group(add(client, 100), inner), total(client))
    assert nested.apply_async().get(timeout=GET_S) == (2 + 100) + (3 + 10) + (3 + 20) + (3 + 30 + 1)


def test_a_worker_that_dies_with_a_part_that_adds_others_adds_each_once(world: World, client: Celery) -> None:
    """A chord that grew by a part that was never sent would wait without end."""
    world.hold()
    world.start(imports="own_tasks,holding")
    body = chord([client.signature("own.adds", [10], {"many": 2})], app=client)(total(client))
    world.user.until(lambda: "held" in world.ran(), "it has added them, and is not acknowledged")
    world.kill()
    assert body.get(timeout=GET_S) == 10 + 10 + 11
    assert world.ran().count("adds") == 2


def test_a_worker_that_dies_with_a_replaced_task_replaces_it_once(world: World, client: Celery) -> None:
    """The replacement is sent in the step that ends the task, like a retry."""
    world.hold()
    world.start(imports="own_tasks,holding")
    result = client.send_task("own.replaced", [1, 2])
    world.user.until(lambda: "held" in world.ran(), "it is replaced, and not acknowledged")
    world.kill()
    assert result.get(timeout=GET_S) == 3
    client.send_task("own.note", ["after"], queue="default").get(timeout=GET_S)
    assert (world.ran().count("replaced"), world.ran().count("total")) == (2, 1)


def test_a_worker_that_dies_with_a_failed_part_has_not_failed_the_chord_yet(world: World, client: Celery) -> None:
    """Part and body fail in one step. Before it a client sees neither failure."""
    world.hold()
    world.start(imports="own_tasks,holding")
    part = fails(client)
    part.freeze()
    body = chord([part], app=client)(total(client))
    world.user.until(lambda: "held" in world.ran(), "the part has failed, and is not acknowledged")
    states = {client.AsyncResult(part.id).state, body.state}
    assert states <= {"PENDING", "STARTED"}
    world.kill()
    with pytest.raises(ValueError, match="broken"):
        body.get(timeout=GET_S)


def test_with_results_on_another_server_a_death_with_the_last_part_does_not_lose_the_body(
    world: World, other_server_url: str, client: Celery
) -> None:
    """Parts are counted on that server before their claim ends on this one.

    The chord must stay until the body is published.
    """
    world.hold()
    world.start(imports="own_tasks,holding", MLQ_RESULT_BACKEND=other_server_url)
    client.conf.update(result_backend=other_server_url)
    body = chord([add(client, 1, 1)], app=client)(client.signature("own.total"))
    world.user.until(lambda: "held" in world.ran(), "the last part has ended and is not acknowledged")
    world.kill()
    assert body.get(timeout=GET_S) == 2
    client.send_task("own.note", ["after"], queue="default").get(timeout=GET_S)
    assert world.ran().count("total") == 1


def test_an_errback_that_raises_fails_alone(world: World, client: Celery) -> None:
    """Celery calls it in the worker of the failed task. It must neither end the worker nor stop other errbacks."""
    world.start()
    pid = world.workers.pids()["cpu0"]
    errbacks: Any = [client.signature("own.breaks"), client.signature("own.sorry")]
    task = client.send_task("own.fails", ["broken"], link_error=errbacks)
    with pytest.raises(ValueError, match="broken"):
        task.get(timeout=GET_S)
    world.user.until(lambda: f"sorry {task.id}" in world.ran(), "the other errback runs")
    body = total(client)
    body.link_error(client.signature("own.breaks"))
    with pytest.raises(ValueError, match="broken"):
        chord([fails(client)], app=client)(body).get(timeout=GET_S)
    assert (world.ran().count("breaks"), world.workers.pids()["cpu0"]) == (2, pid)
