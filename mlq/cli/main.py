"""The entry point of the command line: the table of commands, and the exit code of every way to end."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import traceback
from typing import Annotated, Any, Final

import typer

from mlq import __version__
from mlq.cli.framework import ClickException, NoArgsIsHelpError, get_command, lazy_group
from mlq.errors import IncompleteInstallation, InternalError, MlqError, StdoutFailed, UsageError
from mlq.exit_codes import SIGNALLED, ExitCode
from mlq.security.masking import guard_stderr
from mlq.terminal import standard_streams

COMMANDS: Final = {
    "up": "Run a broker and a worker for each device of this machine.",
    "worker": "Start, list, drain, stop and restart workers; show their logs.",
    "submit": "Send the rows of a file; with --wait, collect the answers.",
    "result": "Collect the answers of a job or a task.",
    "job": "List submitted files and their progress; cancel a job.",
    "dead": "List, show, retry, drop, export and rerun dead letters.",
    "queues": "Show queues and their depth; pause, resume or purge a queue.",
    "events": "Show the orders of operators and their outcomes.",
    "autoscale": "Start and stop workers to keep waits below a target.",
    "config": "Show every setting, its value and where it came from.",
    "acl": "Print the rights of a client, submitter or worker on Redis.",
}
"""First word → its summary in the help. The module mlq.commands.<word> holds its `app`."""

HIDDEN: Final = frozenset({"values"})
"""First words that the help leaves out: completion scripts call them."""

_WRITE_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Errors of a write to a full or broken disk, or to a closed stream."""


def root() -> Any:
    """Build the command `mlq` itself, without importing its subcommands."""
    from mlq.cli.invocation import HELP_OPTIONS, shared_options

    words = lazy_group("mlq.commands", COMMANDS, HIDDEN)
    app = typer.Typer(cls=words, add_completion=False, rich_markup_mode=None, context_settings=HELP_OPTIONS)
    app.callback(no_args_is_help=True)(_mlq)
    command: Any = get_command(app)
    command.params.extend(shared_options())
    command.commands = dict.fromkeys(COMMANDS)  # Typer suggests one of these for a misspelled word
    return command


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (Typer calls it with the option's value)
    if wanted:
        sys.stdout.write(f"mlq {__version__}\n")
        raise typer.Exit


def _mlq(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Operate inference workers on Celery and Redis.

    \b
    Examples:
      mlq up --model model.pt2                     run a broker and workers
      mlq worker start --gpus 0,1 --model m.pt2    start one worker per GPU
      mlq submit input.json --wait -o out.jsonl    send rows, collect answers
      mlq queues --watch 1                         watch the queues
    """
    del version


def main() -> None:
    """Run one command and exit with its code (docs/exit-codes.md lists them)."""
    standard_streams.occupy_closed()
    guard_stderr()
    trouble = None
    try:
        code = run(sys.argv[1:])
    except OSError as exc:  # raised while writing the help of a bare `mlq`
        code, trouble = ExitCode.DONE, exc
    trouble = standard_streams.flush() or trouble
    if trouble is not None and code == ExitCode.DONE:
        _fail(StdoutFailed(reason=trouble.strerror))
        code = StdoutFailed.exit_code
    gc.freeze()  # skips the garbage collection of all modules at exit, which takes 25 ms
    sys.exit(code)


def run(args: list[str]) -> int:  # noqa: PLR0911 (a return for each way in which a command can end)
    """Run one command and return its exit code; an error becomes two lines on stderr."""
    debug = "--debug" in args
    try:
        return root().main(args=args, prog_name="mlq", standalone_mode=False, obj=tuple(args)) or ExitCode.DONE
    except NoArgsIsHelpError as exc:
        sys.stdout.write(exc.format_message() + "\n")
        return ExitCode.DONE
    except ClickException as exc:
        _fail(_usage(exc))
        return UsageError.exit_code
    except MlqError as exc:
        if debug:
            traceback.print_exc()
        _fail(exc)
        return exc.exit_code
    except (KeyboardInterrupt, typer.Abort) as exc:
        return SIGNALLED + int(getattr(exc, "number", signal.SIGINT))
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Without this, Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as exc:
        if debug:
            raise
        error = _refused_by_stdout(exc) or _unexpected(exc)
        _fail(error)
        return error.exit_code


def _usage(exc: ClickException) -> UsageError:
    context = getattr(exc, "ctx", None)
    command = context.command_path if context else "mlq"
    return UsageError(what=exc.format_message().rstrip("."), fix=f"`{command} --help` shows how it is used")


def _refused_by_stdout(exc: Exception) -> MlqError | None:
    """Return the error of an answer that stdout did not take, None if `exc` is another error.

    An OSError without a file name can come from stdout only: writes to files raise mlq's own errors, and errors of
    stderr are dropped.
    """
    if not isinstance(exc, OSError) or exc.filename is not None or exc.errno not in _WRITE_ERRORS:
        return None
    standard_streams.flush()
    return StdoutFailed(reason=exc.strerror)


def _unexpected(exc: Exception) -> MlqError:
    """Return an error that blames the installation if mlq's requirements are not met, and mlq itself otherwise."""
    import mlq_cli

    if isinstance(exc, ImportError) or any(mlq_cli.unmet()):
        what, fix = mlq_cli.explain(exc)
        return IncompleteInstallation(what=what, fix=fix)
    return InternalError(kind=type(exc).__name__, reason=exc)


def _fail(error: MlqError) -> None:
    from mlq.terminal.terminal import Terminal

    Terminal().fail(error.message, error.hint)
