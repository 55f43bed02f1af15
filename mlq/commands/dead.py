"""The command `mlq dead`: list, show, retry, drop, export and rerun dead letters."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from mlq.broker.connection import broker_address, connected, explained, redis_client, results_beside_queues
from mlq.broker.server_time import server_time
from mlq.cli import fleet, options
from mlq.cli.framework import TyperOption
from mlq.cli.invocation import Command, Invocation, JsonCommand, begin, command, given, group, option
from mlq.cli.job_wait import opened
from mlq.cli.order_record import recorded
from mlq.errors import DeadLetterCut, NoSuchDeadLetter, UsageError
from mlq.jobs.collect import output
from mlq.protocol.message import names_of
from mlq.settings.parsers import moment
from mlq.store.messages.dead_letters import DeadLetter, DeadLetters, Requeued, ResultKey
from mlq.supervisor import rerun_process
from mlq.terminal import dead_letters
from mlq.terminal.printable import printable
from mlq.terminal.prompts import agreed

if TYPE_CHECKING:
    from redis import Redis

app = group(
    "ls",
    """List, show, retry, drop, export and rerun dead letters.

    \b
    Examples:
      mlq dead                               list all of them, the oldest first
      mlq dead show 12-7                     show one, with its payload
      mlq dead retry --all --reason crash    requeue those that crashed workers
      mlq dead export -o dead.jsonl          write all of them as JSON Lines

    A message becomes a dead letter when it has crashed workers, has exceeded its time limit, or cannot be read.
    """,
)

_RECORDED: Final = 10
"""Dead letters that the record of an order names, at most."""

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters, as `mlq dead` shows them.", metavar="[ID]...")
]
Id = Annotated[str, typer.Argument(help="Id of a dead letter, as `mlq dead` shows it.", metavar="ID")]
Gpu = Annotated[
    str | None, typer.Option("--gpu", help="GPU to run the message on (default: the CPU).", metavar="INDEX|UUID")
]
Raw = Annotated[bool, typer.Option("--raw", help="Print the bytes of the message only.")]
Everything = Annotated[bool, typer.Option("--all", help="Select all dead letters that match the filters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done without doing it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


class Filtering(Command):
    """A command that works on the dead letters that match its filters."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the filters."""
        yield option("--queue", text="Select dead letters of this queue only.", metavar="NAME", default=None)
        text = "Select dead letters with this reason only, such as crash or malformed."
        yield option("--reason", text=text, metavar="WORD", default=None)
        text = "Select dead letters since this time only, such as 2h, 3d or 2026-11-20T12:00Z."
        yield option("--since", text=text, metavar="WHEN", default=None)


class Choosing(Filtering, JsonCommand):
    """A filtering command whose answer lists dead letters."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add --json to the filters."""
        yield from Filtering.extra_options(self)
        yield from JsonCommand.extra_options(self)


@dataclass(frozen=True)
class Filter:
    """A condition on dead letters."""

    queue: str | None
    """The queue that a message came from; None for any."""
    reason: str | None
    """Why the message was dead-lettered; None for any."""
    after_ms: float
    """Earliest time of the dead-lettering, in milliseconds since 1970; 0 for any."""

    @classmethod
    def given(cls, ctx: typer.Context, redis: Redis) -> Filter:
        """Read the filter from the options. Raises UsageError."""
        asked = given(ctx, "")
        since = asked.get("since")
        try:
            after_ms = 0.0 if since is None else 1000 * moment(since, now=server_time(redis))
        except ValueError as exc:
            raise UsageError(what=f"--since {since!r}: {exc}", fix="such as `mlq dead ls --since 2h`") from None
        return cls(asked.get("queue"), asked.get("reason"), after_ms)

    def __call__(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter matches."""
        fits = self.queue in {None, letter.queue} and self.reason in {None, letter.reason}
        return fits and letter.dead_lettered_at_ms >= self.after_ms


@command(app, cls=Choosing)
def ls(ctx: typer.Context) -> None:
    """List dead letters, the oldest first.

    \b
    Examples:
      mlq dead
      mlq dead ls --queue realtime --since 2h
      mlq dead --json | jq -r '.entries[].id'
    """
    call = begin(ctx)
    with _store(call) as redis:
        found = list(_chosen(redis, Filter.given(ctx, redis)))
    call.terminal.show(dead_letters.document(found), partial(dead_letters.dead_table, found))


@command(app, cls=JsonCommand)
def show(ctx: typer.Context, letter: Id, *, raw: Raw = False) -> None:
    """Show a dead letter and the beginning of its payload.

    \b
    Examples:
      mlq dead show 12-7
      mlq dead show 12-7 --raw > message.json

    Control characters of the payload are escaped. With --raw the output is exactly the bytes of the message.
    """
    call = begin(ctx)
    if raw and call.terminal.json:
        raise UsageError(what="--raw and --json exclude each other", fix="leave one of them out")
    with _store(call) as redis:
        found = _read(DeadLetters(redis), letter)
    if raw:
        call.terminal.write(found.raw)
        return
    if call.terminal.json:
        call.terminal.emit({"schema": "mlq.dead/1", "entries": [dead_letters.whole(found)]})
        return
    for name, value in dead_letters.in_words(found):
        call.terminal.line(f"{name:<12} {printable(value)}")
    call.terminal.line(printable(found.raw.decode(errors="replace"), limit=dead_letters.SHOWN_BYTES))


@command(app, cls=Choosing)
def retry(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    everything: Everything = False,
    rate: Annotated[
        str | None,
        typer.Option("--rate", help="Messages to requeue per second, at most (default: no limit).", metavar="N/s"),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Requeue dead letters, behind the messages that wait.

    \b
    Examples:
      mlq dead retry 12-7
      mlq dead retry --all --reason crash --rate 5/s
      mlq dead retry --all --since 2h --dry-run

    Deliveries and crashes are counted from zero again. The stored failure is removed, so that a client that asks for
    the result waits for the new one.
    """
    call = begin(ctx)
    _check_selection(ids, everything=everything)
    a_second = None if rate is None else _rate(rate)
    with _store(call) as redis:
        found = _whole(call, list(_chosen(redis, Filter.given(ctx, redis), ids or ())), named=bool(ids))
        if everything and not dry_run and not (yes or agreed(call.terminal, f"requeue {len(found)} dead letters?")):
            return
        if dry_run:
            done = found
        else:
            with recorded(call, "dead retry", _names_of(found)) as record:
                done = _retry(call, DeadLetters(redis), found, a_second)
                record.detail = f"{len(done)} of {len(found)} queued again"
    _report(call, "would be queued again" if dry_run else "queued again", done)


@command(app, cls=Choosing)
def drop(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    everything: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete dead letters; they cannot be restored.

    \b
    Examples:
      mlq dead drop 12-7
      mlq dead drop --all --reason malformed --yes
    """
    call = begin(ctx)
    _check_selection(ids, everything=everything)
    with _store(call) as redis:
        found = list(_chosen(redis, Filter.given(ctx, redis), ids or ()))
        if not dry_run and not (yes or agreed(call.terminal, f"delete {len(found)} dead letters?")):
            return
        done = found if dry_run else _drop(call, DeadLetters(redis), found)
    _report(call, "would be dropped" if dry_run else "dropped", done)


@command(app, cls=Filtering)
def export(ctx: typer.Context, out: options.Out = None) -> None:
    """Write dead letters as JSON Lines, with their bytes in base64.

    \b
    Examples:
      mlq dead export -o dead.jsonl
      mlq dead export --reason crash | jq -r .raw | base64 -d
    """
    call = begin(ctx)
    out = output.target(out)
    with _store(call) as redis, opened(call, out) as stream, output.writing(str(out or stream.name), "mlq dead export"):
        for letter in _chosen(redis, Filter.given(ctx, redis)):
            stream.write(orjson.dumps(dead_letters.whole(letter)) + b"\n")
        stream.flush()


@command(app, cls=fleet.Computing)
def rerun(ctx: typer.Context, letter: Id, gpu: Gpu = None) -> None:
    """Run a dead letter in a separate process, to see why it failed.

    \b
    Examples:
      mlq dead rerun 12-7 --model model.pt2
      mlq dead rerun 12-7 --model serve.py:Model --time-limit 60 --gpu 0

    Prints the result of the task, or the signal and the stacks if the process dies. The queues, the stored result and
    the dead letter stay unchanged.
    """
    call = fleet.begin(ctx)
    with _store(call) as redis:
        (found,) = _whole(call, [_read(DeadLetters(redis), letter)], named=True)
    code = rerun_process.run(call.settings, found.id, found.raw, gpu)
    if code:
        raise typer.Exit(code)


def _check_selection(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise UsageError(what="name dead letters, or give --all", fix="`mlq dead` lists them")


@contextmanager
def _store(call: Invocation) -> Iterator[Redis]:
    """Open a client of the broker's Redis, which keeps dead letters beside the queues that they came from."""
    address = broker_address(call.settings)
    with connected(call.settings, address) as connection, explained(address):
        yield redis_client(connection)


def _chosen(redis: Redis, fits: Filter, ids: Sequence[str] = ()) -> Iterator[DeadLetter]:
    """Yield the dead letters with these ids, or all of them, that match the filter.

    Raises NoSuchDeadLetter.
    """
    letters = DeadLetters(redis)
    return (letter for letter in ((_read(letters, i) for i in ids) if ids else letters) if fits(letter))


def _read(letters: DeadLetters, letter_id: str) -> DeadLetter:
    letter = letters.read(letter_id)
    if letter is None:
        raise NoSuchDeadLetter(id=letter_id)
    return letter


def _whole(call: Invocation, found: Sequence[DeadLetter], *, named: bool) -> list[DeadLetter]:
    """Leave out dead letters of which only a part is stored, with a warning. Raises DeadLetterCut for a named one."""
    for letter in found:
        if letter.size is not None and named:
            raise DeadLetterCut(id=letter.id, size=letter.size)
    whole = [letter for letter in found if letter.is_whole]
    if len(whole) < len(found):
        call.terminal.warn(f"{len(found) - len(whole)} dead letters are skipped: only a part of them is stored")
    return whole


def _rate(text: str) -> float:
    """Read `5/s`, or just 5. Raises UsageError."""
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise UsageError(what=f"--rate {text!r} is not a number of messages per second", fix="such as `--rate 5/s`")
    return rate


def _retry(call: Invocation, letters: DeadLetters, found: Sequence[DeadLetter], rate: float | None) -> list[DeadLetter]:
    """Requeue dead letters at `rate` messages per second; return those that were requeued."""
    done: list[DeadLetter] = []
    try:
        for letter in found:
            if done and rate is not None:
                time.sleep(1 / rate)
            if isinstance(letters.requeue(letter.id, _result_key(call, letter)), Requeued):
                done.append(letter)
    except KeyboardInterrupt:  # the command still reports the messages that it has requeued
        call.terminal.warn(f"interrupted after {len(done)} of {len(found)}")
    return done


def _drop(call: Invocation, letters: DeadLetters, found: Sequence[DeadLetter]) -> list[DeadLetter]:
    with recorded(call, "dead drop", _names_of(found)) as record:
        done = [letter for letter in found if letters.drop(letter.id)]
        record.detail = f"{len(done)} of {len(found)} dropped"
    return done


def _names_of(letters: Sequence[DeadLetter]) -> str:
    """Describe dead letters for the record of an order: their number, and the ids of the first ones."""
    shown = " ".join(letter.id for letter in letters[:_RECORDED])
    return f"{len(letters)}: {shown}{' …' if len(letters) > _RECORDED else ''}"


def _result_key(call: Invocation, letter: DeadLetter) -> ResultKey | None:
    """Return the key of the stored failure; None if results are on another server, where the new one overwrites it."""
    _, task_id = names_of(letter.raw)
    here = results_beside_queues(call.settings, broker_address(call.settings))
    return ResultKey(f"celery-task-meta-{task_id}") if here and task_id else None


def _report(call: Invocation, what: str, done: Sequence[DeadLetter]) -> None:
    text = "\n".join([*(printable(letter.id) for letter in done), f"{len(done)} {what}"])
    call.terminal.show_text(dead_letters.document(done), text)
