"""The command line: one table of commands, each loaded when it is called, every error an exit code."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import sys
import traceback
from typing import Annotated, Any, Final

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError  # Typer re-exports one subclass only
from typer.core import TyperGroup
from typer.main import get_command

from mlq import __version__
from mlq.errors import IncompleteInstallation, InternalError, MlqError, StdoutFailed, UsageError
from mlq.security.masking import guard_stderr
from mlq.terminal import standard_streams

COMMANDS: Final = {
    "up": "Run an embedded broker and a worker for each device here.",
    "worker": "Start inference workers, one per device; list the live ones.",
    "submit": "Send the rows of a file; with --wait, collect the answers.",
    "result": "Collect the answers of a job or a task.",
    "job": "Show submitted files and their progress; cancel one.",
    "dead": "List, show, retry or drop messages that nobody will run.",
    "queues": "Show what waits, what runs, how old it is.",
    "events": "Show who ordered what, and what became of it.",
    "autoscale": "Start and stop workers so that work waits no longer than the target.",
    "config": "Show every setting, its value and where it came from.",
    "acl": "Print the rights of a client, a submitter or a worker on Redis.",
}
"""First word → its line in the help. The module is mlq.commands.<word>, which holds `app`."""

HIDDEN: Final = frozenset({"values"})
"""First words that are for completion scripts, not for people."""

_NOT_WRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What writing fails with, on a disk that is full or broken and on a stream that is closed."""

SIGNALLED: Final = 128
"""What a shell adds to the number of a signal that ended a command."""


class _Words(TyperGroup):
    """The first words: listed from the table above, imported only when one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        return get_command(importlib.import_module(f"mlq.commands.{cmd_name}").app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the words without importing what they do."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def root() -> Any:
    """Build the command `mlq` itself; its subcommands stay unloaded."""
    from mlq.cli.invocation import HELP_OPTIONS, shared_options

    app = typer.Typer(cls=_Words, add_completion=False, rich_markup_mode=None, context_settings=HELP_OPTIONS)
    app.callback(no_args_is_help=True)(_mlq)
    command: Any = get_command(app)
    command.params.extend(shared_options())
    command.commands = dict.fromkeys(COMMANDS)  # where Typer looks for what a misspelt word was meant to be
    return command


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (Typer calls it with the option's value)
    if wanted:
        sys.stdout.write(f"mlq {__version__}\n")
        raise typer.Exit


def _mlq(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Operate inference workers on Celery and Redis.

    \b
    Examples:
      mlq up --model model.pt2                     broker and workers, in the foreground
      mlq worker start --gpus 0,1 --model m.pt2    one worker per GPU
      mlq submit input.json --wait -o out.jsonl    rows in, answers out
      mlq queues --watch 1                         what waits, every second
    """
    del version


def main() -> None:
    """Run one command and exit with its code (docs/exit-codes.md lists them)."""
    standard_streams.occupy_closed()
    guard_stderr()
    trouble = None
    try:
        code = run(sys.argv[1:])
    except OSError as exc:  # the help of a bare `mlq`
        code, trouble = 0, exc
    trouble = standard_streams.flush() or trouble
    if trouble is not None and code == 0:
        _fail(StdoutFailed(reason=trouble.strerror))
        code = StdoutFailed.exit_code
    gc.freeze()  # the interpreter would look for garbage among all modules on its way out: 25 ms a command
    sys.exit(code)


def run(args: list[str]) -> int:  # noqa: PLR0911 (a return for each way in which a command can end)
    """Run one command and give its exit code; an error becomes two lines on stderr."""
    debug = "--debug" in args
    try:
        return root().main(args=args, prog_name="mlq", standalone_mode=False) or 0
    except NoArgsIsHelpError as exc:
        sys.stdout.write(exc.format_message() + "\n")
        return 0
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
        # Who reads us has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    """Make the error of an answer that could not be written; None for any other.

    Files have errors of their own, and what stderr does not take is dropped: only stdout is left.
    """
    if not isinstance(exc, OSError) or exc.filename is not None or exc.errno not in _NOT_WRITTEN:
        return None
    standard_streams.flush()
    return StdoutFailed(reason=exc.strerror)


def _unexpected(exc: Exception) -> MlqError:
    """Blame the installation if it is not what mlq was made for, and mlq otherwise."""
    import mlq_cli

    if isinstance(exc, ImportError) or any(mlq_cli.unmet()):
        what, fix = mlq_cli.explain(exc)
        return IncompleteInstallation(what=what, fix=fix)
    return InternalError(kind=type(exc).__name__, reason=exc)


def _fail(error: MlqError) -> None:
    from mlq.terminal.terminal import Terminal

    Terminal().fail(error.message, error.advice)
