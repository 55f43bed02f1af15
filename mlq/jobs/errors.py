"""Errors of jobs: reading the input, sending rows and collecting results, by exit code."""

from __future__ import annotations

from pathlib import Path

from mlq import DISTRIBUTION
from mlq.errors import MlqError
from mlq.exit_codes import ExitCode

# 1: it failed


class JobTaken(MlqError):
    exit_code = ExitCode.FAILED
    message = "another process has taken over job {id}"
    hint = "the job continues in that process; `mlq job show {id}` shows its progress"

    id: str


class BadResult(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot read the result of task {id}: {reason}"
    hint = (
        "`redis-cli GET celery-task-meta-{id}` shows it, in the result_backend that `mlq config` names; the task's "
        "app must store results as JSON (result_serializer)"
    )

    id: str
    reason: object


class OutputBusy(MlqError):
    exit_code = ExitCode.FAILED
    message = "another process is writing {path}"
    hint = "wait until that process has ended; `mlq job` lists the running jobs"

    path: Path | str


class ReadFailed(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot read {path} to its end: {reason}"
    hint = "the rows that were sent are a job, which `mlq job` lists; submit a copy of the file that can be read"

    path: str
    reason: object


class OutputFailed(MlqError):
    exit_code = ExitCode.FAILED
    message = "cannot write to {path}: {reason}"
    hint = "the lines that were written are kept; after the cause is corrected, `{command}` continues"

    path: str
    reason: str
    command: str


# 2: wrong usage, or an input that does not parse


class NotReadable(MlqError):
    exit_code = ExitCode.USAGE
    message = "cannot read {path} as {kind}: {reason}"
    hint = "correct the file, or name its format with `mlq submit --format`"

    path: str
    kind: str
    reason: object


class NotText(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}:{line}: {where}"
    hint = "name the encoding with `mlq submit --encoding`, such as latin-1, windows-1252 or utf-16-le"

    path: str
    line: int
    where: str | None


class UnclearDelimiter(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}: the delimiter may be any of {candidates}"
    hint = "name the delimiter with `mlq submit --delimiter`; nothing was sent"

    path: str
    candidates: str


class UnknownIdField(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}: no row has the field {field!r} (--id-field)"
    hint = "{fix}"

    path: str
    field: str
    fix: str


class InputBroken(MlqError):
    exit_code = ExitCode.USAGE
    message = "{reason}; the {rows} rows before that were read"
    hint = "`{command}` collects the results of the rows that were sent; submit the other rows again"

    reason: str
    rows: int
    command: str


class NotAnOutput(MlqError):
    exit_code = ExitCode.USAGE
    message = "the output {path} would contain JSON Lines, but its name is that of {kind}"
    hint = "results are written as JSON Lines: name a file such as out.jsonl with -o; nothing was sent"

    path: Path | str
    kind: str


class OtherInput(MlqError):
    exit_code = ExitCode.USAGE
    message = "the output {path} belongs to another input or other options: {difference}"
    hint = "submit the same input with the same options, or write to another file with -o; nothing was sent"

    path: Path
    difference: str


class JobExists(MlqError):
    exit_code = ExitCode.USAGE
    message = "job {id} exists already, with another input or other options"
    hint = "name another job with --job-id; `mlq job show {id}` shows the existing job; nothing was sent"

    id: str


class NotResumable(MlqError):
    exit_code = ExitCode.USAGE
    message = "cannot continue the output {path}: {reason}"
    hint = "remove that file, or name another file with -o; nothing was sent"

    path: Path
    reason: str


class OutputIsInput(MlqError):
    exit_code = ExitCode.USAGE
    message = "the output {path} is also the input"
    hint = "name another file with `mlq submit FILE --wait -o OUT`"

    path: Path | str


class OutputExists(MlqError):
    exit_code = ExitCode.USAGE
    message = "the output {path} exists already"
    hint = "continue it with --resume, remove it, or name another file with -o; nothing was sent"

    path: Path


class AnswersThere(MlqError):
    exit_code = ExitCode.USAGE
    message = "the output {path} exists already"
    hint = "name another file with -o, and keep this one: Redis forgets results that were written to a file"

    path: Path


class NotJson(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}:{line}:{column}: not JSON: {reason}"
    hint = "correct the file, or use JSON Lines, where only the broken line fails; nothing was sent"

    path: str
    line: int
    column: int
    reason: str


class DuplicateIds(MlqError):
    exit_code = ExitCode.USAGE
    message = "{path}: {number} rows have the same id as an earlier row: {shown}"
    hint = "make the ids unique, or name another field with `mlq submit --id-field`; nothing was sent"

    path: str
    number: int
    shown: str


# 3: an extra is not installed


class MissingExtra(MlqError):
    exit_code = ExitCode.INVALID
    message = "{what} needs the extra {extra}, which is not installed"
    hint = f"`pip install '{DISTRIBUTION}[{{extra}}]'`, or submit the rows as JSON Lines or CSV"

    what: str
    extra: str


# 4: broker refusing


class UnsendableEnd(MlqError):
    exit_code = ExitCode.BROKER
    message = (
        "a chunk of results of job {job} is larger than the server's limit for a reply (client-output-buffer-limit "
        "normal)"
    )
    hint = "run `redis-cli CONFIG SET client-output-buffer-limit 'normal 0 0 0'` there, then `mlq result {job}`"

    job: str


# 5: not found


class JobCollected(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "the results of job {id} were collected already"
    hint = "they are in the output file of the process that collected them; `mlq job show {id}` shows how the job ended"

    id: str


class AnswersExpired(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "the results of job {job} have expired: they are kept for 7 days after the last result"
    hint = "submit the file again: `mlq submit FILE --wait -o OUT`"

    job: str


class TaskOfJob(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "task {id!r} is part of job {job}, and its result belongs to the job{where}"
    hint = "`mlq job show {job}` shows the progress of the job, `mlq result {job} --wait` collects its results"

    id: str
    job: str
    where: str


class NoSuchTask(MlqError):
    exit_code = ExitCode.NOT_FOUND
    message = "no job or task {id!r}: the id is unknown, or the result has expired{skipped}"
    hint = "`mlq submit` prints the id of a job; `{command}` waits for a task"

    id: str
    skipped: str
    command: str


# 6: rows failed


class TooManyFailed(MlqError):
    exit_code = ExitCode.ROWS_FAILED
    message = "stopped after {failed} failed rows (--max-errors {limit})"
    hint = "{fix}"

    failed: int
    limit: int | None
    fix: str


class RowsFailed(MlqError):
    exit_code = ExitCode.ROWS_FAILED
    message = "{failed} of {rows} rows failed"
    hint = "{fix}"

    failed: int
    rows: int
    fix: str


class TaskDead(MlqError):
    exit_code = ExitCode.ROWS_FAILED
    message = "task {id!r} will not run: it is dead letter {letter} ({reason})"
    hint = "`mlq dead show {letter}` shows the details, `mlq dead retry {letter}` puts the task back into its queue"

    id: str
    letter: str
    reason: str


# 7: unfinished


class JobCancelled(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "job {job} was cancelled, and {waiting} of {rows} rows have no result"
    hint = "the results so far are kept; `{command}` continues with the other rows"

    job: str
    waiting: int
    rows: int
    command: str


class Unfinished(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "job {job} is not finished: {waiting} of {rows} rows have no result"
    hint = "`mlq result {job} --wait` waits for the results"

    job: str
    waiting: int
    rows: int


class JobStopped(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "job {job} has stopped: its sending process has ended, and {waiting} of {rows} rows have no result"
    hint = (
        "`mlq submit FILE --job-id {job}` sends the other rows; `mlq result {job} --wait` collects the results of "
        "those sent"
    )

    job: str
    waiting: int
    rows: int


class TaskWaits(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "task {id!r} is not finished: {where}"
    hint = "`{command}` waits for it"

    id: str
    where: str
    command: str


class Interrupted(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "interrupted while {waiting} of {rows} rows had no result"
    hint = "no row is lost: `{command}` continues"

    waiting: int
    rows: int
    command: str


class TimedOut(MlqError):
    exit_code = ExitCode.UNFINISHED
    message = "timed out after {seconds:g} s while {waiting} of {rows} rows had no result"
    hint = "no row is lost: `{command}` continues"

    seconds: float
    waiting: int
    rows: int
    command: str
