"""Sidecar: a small file beside the output that says from which input it is made; --resume compares it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from mlq.ipc.private_files import open_private, replacement
from mlq.ipc.shared_pages import known
from mlq.jobs.collect.output import not_opened
from mlq.jobs.errors import NotResumable, OtherInput

SCHEMA: Final = "mlq.sidecar/1"


@dataclass(frozen=True)
class Sidecar:
    """What an output is made from."""

    job: str

    input: str
    """Name of the input."""

    fingerprint: str
    """Fingerprint of the input's bytes and of the options that say how rows are read, as format and id field do."""

    rows: int

    options: dict[str, Any]
    """The options that say how rows are read."""

    model: str | None = None
    """Fingerprint of the model that answered the latest rows."""

    def answered_by(self, model: str) -> Sidecar:
        """Return the sidecar with the fingerprint of the model that answers."""
        return replace(self, model=model)


def path_of(output: Path) -> Path:
    """Return the path of an output's sidecar."""
    return output.with_name(output.name + ".mlq")


def write(output: Path, sidecar: Sidecar) -> None:
    """Write the sidecar atomically. Raises NoSuchFile if its directory is missing or closed, OutputFailed."""
    try:
        with replacement(path_of(output), keep_mode=True) as file:
            file.write(orjson.dumps({"schema": SCHEMA, **asdict(sidecar)}, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as exc:
        raise not_opened(output, exc) from None


def read(output: Path) -> Sidecar | None:
    """Read the sidecar of an output; None if there is none. Raises NotResumable for a file that mlq did not write."""
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
    """Check that input and options are those with which the output was begun. Raises OtherInput."""
    for name, value in now.options.items():
        if begun.options.get(name) != value:
            raise OtherInput(path=output, difference=f"{name} was {begun.options.get(name)!r}, and is {value!r} now")
    if begun.fingerprint != now.fingerprint:
        raise OtherInput(
            path=output, difference=f"the content of {now.input} is not that of {begun.input} when the output was begun"
        )
