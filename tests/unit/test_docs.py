"""The documents match the code: every link has a target, and every list of fields and settings is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from mlq.autoscale.policy.policy import Decision
from mlq.autoscale.replay.simulation import Replay
from mlq.broker.roles import Role
from mlq.cli import job_wait, worker_orders
from mlq.cli.worker_selection import Followed
from mlq.commands import acl
from mlq.settings import config
from mlq.store import event_log
from mlq.store.messages.dead_letters import DeadLetter
from mlq.store.queues.depth import QueueDepth
from mlq.store.workers.orders import Order
from mlq.terminal import dead_letters, decisions, event_lines, tables
from tests.heartbeats import heartbeat

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")])

BEAT: Final = heartbeat()
LETTER: Final = DeadLetter("1-1", "realtime", b"{}", 0, 0, 0)
DECISION: Final = Decision(0.0, 0, 0, 0, 0, 0, "hold", "")

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "mlq.queues/1": tables.queues_document([QueueDepth("q", 0, 0, 0, None, {})], [])["queues"][0],
    "mlq.workers/1": tables.workers_document([BEAT])["workers"][0],
    "mlq.job/1": job_wait.task_document("t", ok=1, failed=0),
    "mlq.dead/1": dead_letters.whole(LETTER),
    "mlq.order/1": worker_orders.document(Order("drain"), [Followed(BEAT, "stopped")])["workers"][0],
    "mlq.event/1": event_lines.document(event_log.RecordedOrder("1-0", 1, "queues pause", "batch", "me", "h", 1)),
    "mlq.config/1": tables.settings_document(config.load({}))["settings"][0],
    "mlq.acl/1": acl.document(acl.User("u", Role.CLIENT, ("q",), (), None), acl.AclFormat.CLI),
    "mlq.decision/1": decisions.document("q", DECISION),
    "mlq.replay/1": decisions.replay_document(Replay(1.0, [0.0], 2.0, 0, 0, [])),
}
"""One entry of each JSON document, from the functions that write the documents."""


def section(title: str) -> str:
    """Return the section of docs/json.md with this heading."""
    return (ROOT / "docs" / "json.md").read_text().split(f"\n## `{title}`\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_document_has_a_target(path: Path) -> None:
    """Relative links name files of the repository."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("schema", SHAPES)
def test_exactly_the_fields_of_a_json_document_are_described(schema: str) -> None:
    """docs/json.md lists the fields that scripts may read."""
    rows = re.findall(r"^\| (`[^|]+) \|", section(schema), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert described == set(SHAPES[schema]) - {"schema"}


def test_the_table_of_settings_matches_the_code() -> None:
    """Each row has key, variables, help text and default, in the order of `mlq config`."""
    listed = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.*) \|$", listed, re.MULTILINE)
    expected = [(s.dotted, ", ".join(f"`{v}`" for v in s.variables), s.help, s.shown_default) for s in config.SETTINGS]
    assert rows == expected
