"""mlq dead: messages that nobody will run, and what to do about them."""

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
from typer.core import TyperOption

from mlq.broker.connection import broker_address, connected, explained, redis_client, results_beside_queues
from mlq.broker.server_time import server_time
from mlq.cli import fleet, options
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
    """List, show, retry or drop dead letters: messages that crashed workers, overran, or cannot be read.

    \b
    Examples:
      mlq dead                                  all of them, the oldest first
      mlq dead show 12-7                        what is known of one, payload included
      mlq dead retry --all --reason crash       queue them again, when the cause is mended
      mlq dead export -o dead.jsonl             everything, as JSON Lines
    """,
)

_RECORDED: Final = 10
"""So many letters are named in the record of an order."""

Ids = Annotated[list[str] | None, typer.Argument(help="Dead letters, as `mlq dead` names them.", metavar="[ID]...")]
Id = Annotated[str, typer.Argument(help="A dead letter, as `mlq dead` names it.", metavar="ID")]
Gpu = Annotated[str | None, typer.Option("--gpu", help="On this GPU; on the CPU, if not said.", metavar="INDEX|UUID")]
Raw = Annotated[bool, typer.Option("--raw", help="Its bytes.")]
Everything = Annotated[bool, typer.Option("--all", help="All that the filters leave.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Filtering(Command):
    """A command that works on the letters which its filters leave."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add the filters."""
        yield option("--queue", text="Only those of this queue.", metavar="NAME", default=None)
        yield option("--reason", text="Only those with this reason: crash, malformed, …", metavar="WORD", default=None)
        yield option(
            "--since", text="Only those buried since: 2h, 3d, 2026-11-20T12:00Z.", metavar="WHEN", default=None
        )


class Choosing(Filtering, JsonCommand):
    """One that tells which."""

    def extra_options(self) -> Iterator[TyperOption]:
        """Add --json to the filters."""
        yield from Filtering.extra_options(self)
        yield from JsonCommand.extra_options(self)


@dataclass(frozen=True)
class Filter:
    """Which letters are meant; None leaves all."""

    queue: str | None
    reason: str | None
    after_ms: float

    @classmethod
    def given(cls, ctx: typer.Context, redis: Redis) -> Filter:
        """Take what the options say. Raises UsageError."""
        asked = given(ctx, "")
        since = asked.get("since")
        try:
            after_ms = 0.0 if since is None else 1000 * moment(since, now=server_time(redis))
        except ValueError as exc:
            raise UsageError(what=f"--since {since!r}: {exc}", fix="such as `mlq dead ls --since 2h`") from None
        return cls(asked.get("queue"), asked.get("reason"), after_ms)

    def __call__(self, letter: DeadLetter) -> bool:
        """Tell whether a letter is meant."""
        fits = self.queue in {None, letter.queue} and self.reason in {None, letter.reason}
        return fits and letter.buried_at_ms >= self.after_ms


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
    """Show what is known of a dead letter, and its payload, escaped and cut; with --raw exactly its bytes.

    \b
    Examples:
      mlq dead show 12-7
      mlq dead show 12-7 --raw > message.json
    """
    call = begin(ctx)
    if raw and call.terminal.json:
        raise UsageError(what="--raw writes bytes, and --json none of them", fix="leave one of them out")
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
    rate: Annotated[str | None, typer.Option("--rate", help="So many a second.", metavar="N/s")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Put dead letters back on their queues, behind what waits, and forget what they are blamed for.

    \b
    Examples:
      mlq dead retry 12-7
      mlq dead retry --all --reason crash --rate 5/s
      mlq dead retry --all --since 2h --dry-run

    Their stored failure is removed: whoever asks for the result waits for the new one.
    """
    call = begin(ctx)
    _check(ids, everything=everything)
    a_second = None if rate is None else _rate(rate)
    with _store(call) as redis:
        found = _whole(call, list(_chosen(redis, Filter.given(ctx, redis), ids or ())), named=bool(ids))
        if everything and not dry_run and not (yes or agreed(call.terminal, f"queue {len(found)} dead letters again?")):
            return
        if dry_run:
            done = found
        else:
            with recorded(call, "dead retry", _named(found)) as record:
                done = _retried(call, DeadLetters(redis), found, a_second)
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
    """Forget dead letters for ever.

    \b
    Examples:
      mlq dead drop 12-7
      mlq dead drop --all --reason malformed --yes
    """
    call = begin(ctx)
    _check(ids, everything=everything)
    with _store(call) as redis:
        found = list(_chosen(redis, Filter.given(ctx, redis), ids or ()))
        if not dry_run and not (yes or agreed(call.terminal, f"drop {len(found)} dead letters for ever?")):
            return
        done = found if dry_run else _dropped(call, DeadLetters(redis), found)
    _report(call, "would be dropped" if dry_run else "dropped", done)


@command(app, cls=Filtering)
def export(ctx: typer.Context, out: options.Out = None) -> None:
    """Write all that is known of dead letters as JSON Lines, their bytes in base64.

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
    """Run a dead letter in a process of its own, away from the queues, to see what it does.

    \b
    Examples:
      mlq dead rerun 12-7 --model model.pt2
      mlq dead rerun 12-7 --model serve.py:Model --time-limit 60 --gpu 0

    Its answer goes to stdout; a death is told with its signal and the stacks. Nothing is queued, answered or dropped.
    """
    call = fleet.begin(ctx)
    with _store(call) as redis:
        (found,) = _whole(call, [_read(DeadLetters(redis), letter)], named=True)
    code = rerun_process.run(call.settings, found.id, found.raw, gpu)
    if code:
        raise typer.Exit(code)


def _check(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise UsageError(what="name dead letters, or say --all", fix="`mlq dead` lists them")


@contextmanager
def _store(call: Invocation) -> Iterator[Redis]:
    """Open the broker: dead letters are beside the queues that they came from."""
    address = broker_address(call.settings)
    with connected(call.settings, address) as connection, explained(address):
        yield redis_client(connection)


def _chosen(redis: Redis, fits: Filter, ids: Sequence[str] = ()) -> Iterator[DeadLetter]:
    """Read the letters that are named, or all, and leave out what does not fit.

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
    """Leave out, with a warning, what is not kept whole. Raises DeadLetterCut where it was named."""
    for letter in found:
        if not letter.is_whole and named:
            raise DeadLetterCut(id=letter.id, size=letter.size)
    whole = [letter for letter in found if letter.is_whole]
    if len(whole) < len(found):
        call.terminal.warn(f"{len(found) - len(whole)} dead letters are not kept whole, and stay")
    return whole


def _rate(text: str) -> float:
    """Read `5/s`, or just 5. Raises UsageError."""
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise UsageError(what=f"--rate {text!r} is no number of messages a second", fix="such as `--rate 5/s`")
    return rate


def _retried(
    call: Invocation, letters: DeadLetters, found: Sequence[DeadLetter], rate: float | None
) -> list[DeadLetter]:
    done: list[DeadLetter] = []
    try:
        for letter in found:
            if done and rate is not None:
                time.sleep(1 / rate)
            if isinstance(letters.requeue(letter.id, _result_key(call, letter)), Requeued):
                done.append(letter)
    except KeyboardInterrupt:  # what is done is done, and told
        call.terminal.warn(f"interrupted after {len(done)} of {len(found)}")
    return done


def _dropped(call: Invocation, letters: DeadLetters, found: Sequence[DeadLetter]) -> list[DeadLetter]:
    with recorded(call, "dead drop", _named(found)) as record:
        done = [letter for letter in found if letters.drop(letter.id)]
        record.detail = f"{len(done)} of {len(found)} dropped"
    return done


def _named(letters: Sequence[DeadLetter]) -> str:
    """Name letters in a record: how many, and the first of them."""
    shown = " ".join(letter.id for letter in letters[:_RECORDED])
    return f"{len(letters)}: {shown}{' …' if len(letters) > _RECORDED else ''}"


def _result_key(call: Invocation, letter: DeadLetter) -> ResultKey | None:
    """Say where the letter's failure is stored; None where results are on another server, and overwritten later."""
    _, task_id = names_of(letter.raw)
    here = results_beside_queues(call.settings, broker_address(call.settings))
    return ResultKey(f"celery-task-meta-{task_id}") if here and task_id else None


def _report(call: Invocation, what: str, done: Sequence[DeadLetter]) -> None:
    text = "\n".join([*(printable(letter.id) for letter in done), f"{len(done)} {what}"])
    call.terminal.show_text(dead_letters.document(done), text)
