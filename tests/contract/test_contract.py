"""Everything that scripts, other clients and other versions rely on is as recorded: see document.py and record.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import Start, User
from tests.contract import command_line, document, exit_codes, settings
from tests.contract.document import Contract
from tests.contract.scenario import Scenario

Check = Callable[[str, Any], None]


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client


def test_every_command_accepts_the_recorded_options_and_arguments(user: User, assert_as_recorded: Check) -> None:
    """A script that ran with an older version still works."""
    commands = command_line.read(user.mlq)
    assert_as_recorded("commands", {**commands, **command_line.read_modules()})


def test_every_setting_has_its_default_and_its_sources(user: User, assert_as_recorded: Check) -> None:
    """An mlq.toml and a unit file keep their meaning."""
    assert_as_recorded("settings", settings.read(user))


@pytest.mark.timeout(600)
def test_every_failure_ends_with_its_exit_code(user: User, broker: str, assert_as_recorded: Check) -> None:
    """Scripts depend on the codes. A user reads two lines: what failed, and what to do."""
    del broker
    assert_as_recorded("exit codes", exit_codes.read(user))


@pytest.mark.timeout(900)
def test_a_broker_and_its_workers_look_to_others_as_recorded(
    user: User, broker: str, redis: Redis, client: Celery, start: Start, contract: Contract
) -> None:
    """Messages, results, files, keys and JSON documents in a scenario with every kind of event."""
    life = Scenario(user, redis, client)
    life.ask_without_broker()
    life.send_rows(broker)
    waiting = life.wait_for_a_row()
    worker = start("--cpus", "1")
    life.answer_rows(waiting)
    life.collect_rows()
    life.answer_tasks()
    life.set_messages_aside()
    life.order_queues()
    life.decide_once()
    life.die_and_drain(worker)
    life.scale()
    found = {"messages": life.messages, "results": life.results, "redis": life.keys.document(), "json": life.shapes}
    differences = [contract.difference(section, there) for section, there in found.items()]
    if any(differences):
        pytest.fail("\n\n".join(filter(None, differences)), pytrace=False)


def test_no_command_is_left_out_of_the_contract(contract: Contract) -> None:
    """Every command with --json has a recorded shape, and every command has recorded exit codes."""
    recorded = {**document.read(), **contract.found}
    commands = {path.removeprefix("mlq "): about for path, about in recorded["commands"].items() if "mlq " in path}
    answering = {path for path, about in commands.items() if "--json" in about["options"]}
    assert answering <= set(recorded["json"])
    parents = {path.rpartition(" ")[0] for path in commands}
    assert set(commands) - parents <= set(recorded["exit codes"])
