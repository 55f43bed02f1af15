"""What can go wrong with a submitted file, in the form of mlq/errors.py, by exit code."""

from __future__ import annotations

from mlq import DISTRIBUTION
from mlq.errors import MlqError


class JobTaken(MlqError):
    """another process has taken over job {id}"""

    hint = "it goes on there; `mlq job show {id}` tells how far it is"


class UnsendableEnd(MlqError):
    """a chunk of answers of job {job} is more than the server sends in a reply (client-output-buffer-limit normal)"""

    exit_code = 4
    hint = "`redis-cli CONFIG SET client-output-buffer-limit 'normal 0 0 0'` there, then `mlq result {job}`"


class BrokenRecord(MlqError):
    """the record of job {job} cannot be read: {reason}"""

    hint = "what wrote to its keys was not mlq; `mlq submit` the file again, with another --job-id"


class BadResult(MlqError):
    """the result of task {id} cannot be read: {reason}"""

    hint = (
        "`redis-cli GET celery-task-meta-{id}` shows it in the result_backend that `mlq config` names; the task's app "
        "must store results as JSON (result_serializer)"
    )


class OutputBusy(MlqError):
    """another process is writing {path}"""

    hint = "wait until it has ended; `mlq job` shows what runs"


class NotReadable(MlqError):
    """{path} cannot be read as {kind}: {reason}"""

    exit_code = 2
    hint = "correct the file, or say what it is with `mlq submit --format`"


class ReadFailed(MlqError):
    """{path} cannot be read to its end: {reason}"""

    hint = "what was sent is a job like any other (`mlq job` lists it); submit a copy that can be read"


class NotText(MlqError):
    """{path}:{line}: {where}"""

    exit_code = 2
    hint = "name the encoding with `mlq submit --encoding`, such as latin-1, windows-1252 or utf-16-le"


class UnclearDelimiter(MlqError):
    """{path}: the fields may be separated by {candidates}"""

    exit_code = 2
    hint = "say which with `mlq submit --delimiter`; nothing was sent"


class UnknownIdField(MlqError):
    """{path}: no row has the field {field!r} (--id-field)"""

    exit_code = 2
    hint = "{fix}"


class InputBroken(MlqError):
    """{reason}; the {rows} rows before it were read"""

    exit_code = 2
    hint = "`{command}` collects the answers to those that were sent; send the rest again"


class OutputFailed(MlqError):
    """cannot write the output: {reason} ({path})"""

    hint = "what is written stays; when the cause is gone, `{command}` goes on"


class NotAnOutput(MlqError):
    """the output {path} would be JSON Lines under the name of {kind}"""

    exit_code = 2
    hint = "answers are written as JSON Lines: name a file such as out.jsonl with -o; nothing was sent"


class MissingExtra(MlqError):
    """{what} needs the extra {extra}, which is not installed"""

    exit_code = 3
    hint = f"`pip install '{DISTRIBUTION}[{{extra}}]'`, or give the rows as JSON Lines or CSV"


class OtherInput(MlqError):
    """{path} was begun with another input or other options: {difference}"""

    exit_code = 2
    hint = "submit what it was begun with, or write to another file with -o; nothing was sent"


class JobExists(MlqError):
    """job {id} exists, and was submitted with another input or other options"""

    exit_code = 2
    hint = "name another with --job-id; `mlq job show {id}` shows that one; nothing was sent"


class NotResumable(MlqError):
    """{path} exists, and {reason}"""

    exit_code = 2
    hint = "remove it or name another file with -o; nothing was sent"


class OutputIsInput(MlqError):
    """the output {path} is the input"""

    exit_code = 2
    hint = "name another file with `mlq submit FILE --wait -o OUT`"


class OutputExists(MlqError):
    """the output {path} exists"""

    exit_code = 2
    hint = "go on with it with --resume, remove it, or name another file with -o; nothing was sent"


class AnswersThere(MlqError):
    """the output {path} exists"""

    exit_code = 2
    hint = "name another file with -o, and keep this one: answers are taken out of Redis as they are written"


class NotJson(MlqError):
    """{path}:{line}:{column}: not JSON: {reason}"""

    exit_code = 2
    hint = "nothing was sent; correct the file, or use JSON Lines, where only a bad line fails"


class DuplicateIds(MlqError):
    """{path}: {number} rows have an id that an earlier row has: {shown}"""

    exit_code = 2
    hint = "nothing was sent; make the ids differ, or name another field with `mlq submit --id-field`"


class JobCollected(MlqError):
    """the answers of job {id} were collected already"""

    exit_code = 5
    hint = "`mlq job show {id}` tells how it went; whoever collected it has the file"


class AnswersExpired(MlqError):
    """the answers of job {job} have expired: they are kept for 7 days after the last"""

    exit_code = 5
    hint = "submit the file again: `mlq submit FILE --wait -o OUT`"


class TooManyFailed(MlqError):
    """stopped after {failed} failed rows (--max-errors {limit})"""

    exit_code = 6
    hint = "{fix}"


class RowsFailed(MlqError):
    """{failed} of {rows} rows failed"""

    exit_code = 6
    hint = "{fix}"


class JobCancelled(MlqError):
    """job {job} was cancelled with {waiting} of {rows} rows unanswered"""

    exit_code = 7
    hint = "what was answered is kept; `{command}` goes on with the rest"


class Unfinished(MlqError):
    """job {job} is not finished: {waiting} of {rows} rows are unanswered"""

    exit_code = 7
    hint = "`mlq result {job} --wait` waits for them"


class JobStopped(MlqError):
    """job {job} is stopped: {waiting} of {rows} rows are unanswered, and the process that sent them has ended"""

    exit_code = 7
    hint = "`mlq submit FILE --job-id {job}` sends the rest; `mlq result {job} --wait` collects what was sent"


class TaskWaits(MlqError):
    """task {id!r} is not finished: {where}"""

    exit_code = 7
    hint = "`{command}` waits for it"


class TaskDead(MlqError):
    """task {id!r} will not run: it is dead letter {letter} ({reason})"""

    exit_code = 6
    hint = "`mlq dead show {letter}` tells more, `mlq dead retry {letter}` queues it again"


class TaskOfJob(MlqError):
    """task {id!r} is a part of job {job}, and its answer goes to the job{where}"""

    exit_code = 5
    hint = "`mlq job show {job}` tells how far it is, `mlq result {job} --wait` collects its answers"


class NoSuchTask(MlqError):
    """no job or task {id!r}: unknown, or its answer has expired{skipped}"""

    exit_code = 5
    hint = "`mlq submit` prints the id of a job; `{command}` waits for a task"


class Interrupted(MlqError):
    """interrupted with {waiting} of {rows} rows unanswered"""

    exit_code = 7
    hint = "nothing is lost: `{command}` goes on"


class TimedOut(MlqError):
    """timed out after {seconds:g} s with {waiting} of {rows} rows unanswered"""

    exit_code = 7
    hint = "nothing is lost: `{command}` goes on"
