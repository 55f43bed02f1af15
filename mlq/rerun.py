"""A throw-away worker: it runs one message from stdin, without any queue.  python -m mlq.rerun < message

The result goes to stdout as one JSON object; if the process dies, the stacks are on stderr.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

from mlq.errors import MlqError, print_error
from mlq.exit_codes import ExitCode
from mlq.model.failure import contained
from mlq.protocol.message import Claim, Malformed, Message, decode
from mlq.protocol.names import BATCH_PREDICT, PREDICT
from mlq.security.masking import guard_stderr, masked
from mlq.settings.config import Settings, load


def main() -> int:
    """Run the message; return 0 if it succeeded, 1 if it failed, or the exit code of the error that prevented it."""
    guard_stderr()
    faulthandler.enable()
    message = decode(Claim("rerun", "", 0, sys.stdin.buffer.read()))
    if isinstance(message, Malformed):
        return _print_outcome({"status": "FAILURE", "error": {"type": message.reason, "message": message.why}})
    try:
        answer = _run(load(), message)
    except MlqError as exc:
        print_error(exc)
        return exc.exit_code
    except BaseException as raised:  # noqa: BLE001 (the failure of the message is the result)
        import traceback

        failure = contained(raised)
        traceback.print_exc()
        return _print_outcome(
            {"status": "FAILURE", "error": {"type": type(failure).__name__, "message": masked(str(failure))}}
        )
    return _print_outcome({"status": "SUCCESS", "result": answer})


def _run(settings: Settings, message: Message) -> Any:
    """Call the body of the task in this process, without a result backend, links or retries."""
    from mlq import tasks
    from mlq.app import create_app
    from mlq.engine.startup.task_modules import import_tasks

    app = create_app(settings)
    limits = message.headers.get("timelimit") or [None, None]
    hard = limits[0] or settings.worker.time_limit
    if _is_predict(settings, message.task):
        tasks.serve(app, _model(settings), _NoMeter())
    import_tasks(settings, Path.cwd())
    if message.task not in app.tasks:
        raise NotImplementedError(message.task)
    if hard is not None:
        faulthandler.dump_traceback_later(hard, exit=True)
    return app.tasks[message.task](*message.args, **message.kwargs)


def _is_predict(settings: Settings, task: str) -> bool:
    return task in {PREDICT, BATCH_PREDICT, *(settings.aliases or {})}


def _model(settings: Settings) -> Any:
    from mlq.errors import NoModel
    from mlq.model.loader import load as load_model

    worker = settings.worker
    if worker.model is None:
        raise NoModel
    return load_model(
        worker.model,
        origin=settings.origin("worker.model"),
        device="cuda:0" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu",
        output=worker.output,
        max_batch_size=worker.max_batch_size,
    )


class _NoMeter:
    """A meter that counts nothing."""

    def count_rows(self, rows: int) -> None:
        del rows

    def device_lost(self, reason: object) -> None:
        del reason


def _print_outcome(outcome: dict[str, Any]) -> int:
    sys.stdout.write(json.dumps(outcome, default=str) + "\n")
    return ExitCode.DONE if outcome["status"] == "SUCCESS" else ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
