"""Every name of Celery, kombu and billiard that mlq replaces, overrides or calls without its being public still exists.

The docstring of mlq/engine/celery/__init__.py says which file uses a name, and why.
"""

from __future__ import annotations

import ast
import dis
import inspect
import re
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import mlq.engine.celery

SOURCE: Final = Path(mlq.engine.celery.__file__).parents[2]

SEAMS: Final = {
    "billiard.common": "_shutdown_cleanup",
    "celery._state": "_task_stack",
    "celery.app.amqp:AMQP": "_create_task_sender Connection",
    "celery.app.backends": "BACKEND_ALIASES",
    "celery.app.base:Celery": "now",
    "celery.app.task:Task": "add_to_chord on_replace request_stack retry run",
    "celery.app.trace": "LOG_SUCCESS",
    "celery.backends.base:KeyValueStoreBackend": "_forget _store_result store_result",
    "celery.backends.redis:RedisBackend": """
        _call_task_errbacks _chord_zset _get_client _get_result_meta _store_result _transport_options
        _unpack_chord_result add_to_chord chord_error_from_stack connparams encode_result ensure get get_key_for_group
        get_key_for_task mget on_chord_part_return""",
    "celery.concurrency.solo:TaskPool": "on_apply",
    "celery.worker.consumer.consumer": "CONNECTION_RETRY MESSAGE_REPORT UNKNOWN_FORMAT UNKNOWN_TASK_ERROR",
    "celery.worker.consumer.consumer:Consumer": """
        call_soon channel_errors connection_errors create_task_handler disable_rate_limits on_decode_error
        on_connection_error_after_connected on_invalid_task task_buckets""",
    "celery.worker.consumer.events:Events": "event_dispatcher",
    "celery.worker.consumer.tasks:Tasks": "task_consumer",
    "celery.worker.control:Panel": "data meta",
    "celery.worker.pidbox": "Pidbox",
    "celery.worker.pidbox:Pidbox": "consumer node on_message reset start",
    "celery.worker.request:Request": "__init__ maybe_expire on_timeout",
    "celery.worker.state": """
        active_requests all_total_count maybe_shutdown revoked revoked_stamps should_stop should_terminate
        total_count""",
    "kombu.compression": "encoders get_encoder register",
    "kombu.connection:Connection": "_establish_connection _init_params ensure_connection get_transport_cls",
    "kombu.pidbox:Mailbox": "_publish_reply reply_exchange",
    "kombu.pidbox:Node": """
        adjust_clock channel dispatch handle handlers listen mailbox on_decode_error reply state""",
    "kombu.serialization": "register",
    "kombu.transport": "TRANSPORT_ALIASES _transport_cache",
    "kombu.transport.redis": "loads",
    "kombu.transport.redis:Channel": """
        Message QoS _binding_expiry_refreshed_at _brpop_read _delete _do_restore_message _get_message_priority
        _handle_message _has_queue _lookup _put _q_for_pri _queue_bind _size auto_delete_queues conn_or_acquire
        keyprefix_binding_permanent keyprefix_queue maybe_refresh_binding_expiry priority_steps
        visibility_timeout""",
    "kombu.transport.redis:MultiChannelPoller": "_register_BRPOP",
    "kombu.transport.redis:QoS": "ack append reject restore_unacked_once restore_visible visibility_timeout",
    "kombu.transport.redis:SentinelChannel": "_q_for_pri",
    "kombu.transport.redis:SentinelTransport": "_deliver",
    "kombu.transport.redis:Transport": "Channel _deliver cycle register_with_event_loop",
}
"""Names by their owner: a module, or a class after a colon."""

ONLY_IN_SOME_VERSIONS: Final = frozenset({"call_soon_ack", "_chord_result_expires"})
"""Celery 5.7 has these and 5.6 does not; mlq works with and without them."""

NOT_OF_CELERY: Final = frozenset({"_exit", "_current_frames", "_click"})
"""Private or odd names of os, sys and Typer, which mlq uses elsewhere."""


ELSEWHERE: Final = frozenset({"broker/channels.py", "store/queues/depth.py", "supervisor/control/mailbox.py"})
"""The files outside of engine/celery that use private names; the same docstring says why."""


def test_an_upgrade_of_celery_or_kombu_has_moved_no_name_that_mlq_relies_on() -> None:
    """A moved name is not always an error: an override that is never called loses messages silently."""
    moved = list(_moved())
    assert not moved, "\n".join(["an upgrade moved these names:", *moved])


def test_every_such_name_is_in_the_list_that_explains_it() -> None:
    """After an upgrade the list is where a developer looks for the reason, and for the file to change."""
    explained = set(re.findall(r"`(\w+)`", mlq.engine.celery.__doc__ or "")) - ONLY_IN_SOME_VERSIONS
    checked = {name for names in SEAMS.values() for name in names.split()}
    assert sorted(explained - checked) == [], "explained, but not checked after an upgrade"
    private = {name for name in checked if name.startswith("_")}
    assert sorted(private - explained) == [], "checked, but not explained"
    used = _foreign_private_names() - NOT_OF_CELERY - ONLY_IN_SOME_VERSIONS
    assert sorted(used - explained) == [], "used, but not explained"


def test_private_names_of_celery_and_kombu_are_used_only_in_engine_celery() -> None:
    """After an upgrade a developer changes files in one folder, and these few."""
    private = {name for names in SEAMS.values() for name in names.split() if _is_private(name)}
    files = [path for path in SOURCE.rglob("*.py") if not path.is_relative_to(SOURCE / "engine" / "celery")]
    found = {str(path.relative_to(SOURCE)): list(_seams_in(ast.parse(path.read_text()), private)) for path in files}
    assert {file: seams for file, seams in found.items() if seams and file not in ELSEWHERE} == {}
    assert [file for file in ELSEWHERE if not found[file]] == [], "they use no private name any more"


def _seams_in(tree: ast.Module, private: Collection[str]) -> Iterator[str]:
    """Yield each place where a module uses a private name of Celery's packages, or replaces or overrides a name."""
    imported = set(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_of_celery(node.module):
            yield from (f"line {node.lineno}: imports {a.name}" for a in node.names if _is_private(a.name))
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if node.attr in private and not of_self:
                yield f"line {node.lineno}: uses {node.attr}"
            if isinstance(node.ctx, ast.Store) and _root(node) in imported:
                yield f"line {node.lineno}: replaces {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and _root(node.args[0]) in imported:
            yield f"line {node.lineno}: replaces {ast.unparse(node)}"
        elif isinstance(node, ast.ClassDef) and any(_root(base) in imported for base in node.bases):
            own = (m for m in node.body if isinstance(m, ast.FunctionDef) and m.name in private)
            yield from (f"line {method.lineno}: overrides {method.name}" for method in own)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the names under which a module knows something of Celery's packages, and other names for the same."""
    nodes = list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update((a.asname or a.name).partition(".")[0] for a in node.names if _is_of_celery(a.name))
        elif isinstance(node, ast.ImportFrom) and _is_of_celery(node.module):
            names.update(a.asname or a.name for a in node.names)
    yield from names
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name) and node.value.id in names:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _root(node: ast.expr) -> str | None:
    """Return the name at the beginning of `name.attribute.attribute`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_of_celery(module: str | None) -> bool:
    return (module or "").partition(".")[0] in {"celery", "kombu", "billiard", "vine"}


def _moved() -> Iterator[str]:
    for place, names in SEAMS.items():
        module, _, kind = place.partition(":")
        try:
            owner: Any = import_module(module)
            owner = getattr(owner, kind) if kind else owner
        except (ImportError, AttributeError):
            yield f"{place}: does not exist any more; mlq uses its {', '.join(names.split())}"
            continue
        for name in names.split():
            if not hasattr(owner, name) and not (inspect.isclass(owner) and _assigns(owner, name)):
                yield f"{place}: has no {name!r} any more"


def _assigns(kind: type, name: str) -> bool:
    """Tell whether a method of a class, or of a base, assigns an attribute of this name to an object."""
    methods = (method for base in kind.__mro__ for method in vars(base).values() if inspect.isfunction(method))
    return any(
        step.opname == "STORE_ATTR" and step.argval == name
        for method in methods
        for step in dis.get_instructions(method)
    )


def _foreign_private_names() -> set[str]:
    """Collect the private attributes that mlq reads from or sets on objects, and defines nowhere."""
    read: set[str] = set()
    defined: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                of_self = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
                (defined if of_self else read).add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AnnAssign):
                defined.add(node.name if isinstance(node, ast.FunctionDef) else getattr(node.target, "id", ""))
            elif isinstance(node, ast.Assign):
                defined.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return read - defined


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")
