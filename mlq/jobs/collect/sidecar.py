"""Sidecar: a small file beside the output that says what it is made of, so that --resume can tell."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from mlq.ipc.private_files import open_private
from mlq.ipc.shared_pages import known
from mlq.jobs.collect.output import not_opened
from mlq.jobs.errors import NotResumable, OtherInput

SCHEMA: Final = "mlq.sidecar/1"


@dataclass(frozen=True)
class Sidecar:
    """`fingerprint` is of the input's bytes, `options` decide about its rows, `model` is of what answered them."""

    job: str
    input: str
    fingerprint: str
    rows: int
    options: dict[str, Any]
    model: str | None = None

    def answered_by(self, model: str) -> Sidecar:
        """Name the model that answers."""
        return replace(self, model=model)


def path_of(output: Path) -> Path:
    """Name the sidecar of an output."""
    return output.with_name(output.name + ".mlq")


def write(output: Path, sidecar: Sidecar) -> None:
    """Write it, whole or not at all. Raises NoSuchFile where the output's directory is missing, OutputFailed."""
    path = path_of(output)
    beside = path.with_name(path.name + ".new")
    try:
        with open_private(beside, "wb", keep_mode=True) as file:
            file.write(orjson.dumps({"schema": SCHEMA, **asdict(sidecar)}, option=orjson.OPT_APPEND_NEWLINE))
        beside.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise not_opened(output, exc) from None


def read(output: Path) -> Sidecar | None:
    """Read it; None where there is none. Raises NotResumable for one that is not ours."""
    try:
        with open_private(path_of(output), "rb", keep_mode=True) as file:
            return known(Sidecar, orjson.loads(file.read()))
    except FileNotFoundError:
        return None
    except OSError as exc:
        reason = f"{os.fspath(path_of(output))} cannot be used: {exc.strerror}"
        raise NotResumable(path=output, reason=reason) from None
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        reason = f"{os.fspath(path_of(output))} is not what mlq writes"
        raise NotResumable(path=output, reason=reason) from None


def demand_same(output: Path, begun: Sidecar, now: Sidecar) -> None:
    """Check that a run goes on with what it began with. Raises OtherInput."""
    for name, value in now.options.items():
        if begun.options.get(name) != value:
            raise OtherInput(path=output, difference=f"{name} was {begun.options.get(name)!r}, and is {value!r} now")
    if begun.fingerprint != now.fingerprint:
        raise OtherInput(path=output, difference=f"{now.input} is not what {begun.input} was")
