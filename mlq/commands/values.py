"""The hidden command `mlq values`: print names for completion scripts, in a short time and without errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Final

import typer

from mlq.cli.invocation import Command, begin, single
from mlq.settings.config import Settings

app = single()

_TIMEOUT_S: Final = 1.0
"""How long a user who pressed TAB waits for a server that does not respond."""


@app.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def values(ctx: typer.Context, kind: Annotated[str, typer.Argument()] = "") -> None:
    """Print the names that exist, one per line: queues, jobs or workers.

    \b
    Examples:
      mlq values queues
      mlq values jobs

    Prints no errors and always exits 0: an error text would appear in the middle of the user's command line.
    """
    try:
        settings = replace(begin(ctx).settings, socket_timeout=_TIMEOUT_S)
        names = [n for n in _KINDS[kind](settings) if n.isprintable()]
    except Exception:  # noqa: BLE001 (see above)
        return
    typer.echo("".join(f"{n}\n" for n in names), nl=False)


def _queues(settings: Settings) -> Iterable[str]:
    from mlq.broker.connection import state_store
    from mlq.protocol.names import BARE_QUEUE
    from mlq.store.queues import queue_names

    configured = [name for name in settings.known_queues if name in settings.queues or name != BARE_QUEUE]
    try:
        with state_store(settings) as store:
            known = queue_names.known(settings, store)
    except Exception:  # noqa: BLE001 (the configured queues are known even if the server fails)
        return configured
    return dict.fromkeys((*configured, *(name for name in known if name != BARE_QUEUE)))


def _jobs(settings: Settings) -> Iterable[str]:
    from mlq.broker.connection import state_store
    from mlq.store.jobs import record

    with state_store(settings) as store:
        return record.recent(store)


def _workers(settings: Settings) -> Iterable[str]:
    from mlq.broker.connection import state_store
    from mlq.store.workers import heartbeats

    with state_store(settings) as store:
        return dict.fromkeys(h.name for h in heartbeats.read(store))


_KINDS: Final[Mapping[str, Callable[[Settings], Iterable[str]]]] = {
    "queues": _queues,
    "jobs": _jobs,
    "workers": _workers,
}
