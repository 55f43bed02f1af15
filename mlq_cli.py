"""The entry point of `mlq`, outside the package `mlq`, whose files another distribution may have overwritten.

PyPI has another project with the name "mlq" (2019, a queue for ML jobs). It installs an empty `mlq/__init__.py`,
`mlq/queue.py` and pins of other packages. Code inside the package cannot report that it was replaced; this module can.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "mlq-cli"
"""The name to install. `mlq/__init__.py` has it too, but may be overwritten; a test compares the two."""

OTHER: Final = "mlq"
"""The name of the other project's distribution, and of this project's before it was renamed."""

OLDEST_PYTHON: Final = (3, 10)
"""The version of `requires-python` in pyproject.toml, checked here because a checkout runs without pip."""

_INVALID: Final = 3
"""The exit code of an installation that cannot work (docs/exit-codes.md)."""

_INSTALL: Final = f"pip install --force-reinstall {DISTRIBUTION}"


def main() -> None:
    """Run `mlq`; report a broken installation, or one that the other project may break, in two lines."""
    if sys.version_info < OLDEST_PYTHON:
        _write(*refuse_python(sys.version_info[:3]))
        sys.exit(_INVALID)
    try:
        from mlq.cli.main import main as run
    except ImportError as exc:
        if "--debug" in sys.argv:
            raise
        _write(*explain(exc))
        sys.exit(_INVALID)
    if sys.argv[1:2] != ["values"]:  # shells run it on TAB, and a warning would appear in the user's command line
        _warn()
    run()


def refuse_python(version: tuple[int, ...]) -> tuple[str, str]:
    """Return the message and the hint for a version of Python that is too old."""
    found, oldest = (".".join(map(str, numbers)) for numbers in (version, OLDEST_PYTHON))
    return f"Python {found} in {sys.executable} is too old", f"install {DISTRIBUTION} with Python {oldest} or newer"


def _warn() -> None:
    """Warn about the other distribution while the command still works."""
    import mlq

    place = Path(mlq.__file__ or "").parent.parent
    other = next(installed_beside(place), None)
    if other is not None:
        _write(f"warning: {other} in {place} has files in the same package directory mlq/", _reinstall())


def installed_beside(place: Path) -> Iterator[str]:
    """Yield the other distributions in a directory of packages, each as `mlq 0.2.2`.

    The directory is listed (0.1 ms) because the import of importlib.metadata would take a tenth of a command's time.
    """
    for entry in place.glob(f"{OTHER}-*.*-info"):  # .dist-info, and .egg-info of old installers
        yield " ".join(entry.stem.split("-")[:2])


def explain(exc: Exception) -> tuple[str, str]:
    """Return the message and the hint for an installation that has caused the exception `exc`."""
    for place in _places():
        others = ", ".join(installed_beside(place))
        if others:
            return f"{others} in {place} has replaced files that {DISTRIBUTION} needs: {exc}", _reinstall()
    reason = "; ".join([*unmet(), str(exc)])
    return f"the installation of {DISTRIBUTION} is not complete: {reason}", f"`{_INSTALL}`"


def _places() -> Iterator[Path]:
    """Yield the directories in which Python finds the package mlq; without an __init__.py there may be several."""
    from importlib.util import find_spec

    spec = find_spec("mlq")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(package).parent


def unmet() -> Iterator[str]:
    """Yield a text for each requirement of mlq that the installed packages do not meet."""
    from importlib import metadata

    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except (ImportError, metadata.PackageNotFoundError):
        return
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement} is not installed"
            continue
        if version not in requirement.specifier:
            yield f"{requirement} is needed, {version} is installed"


def _reinstall() -> str:
    return f"`pip uninstall -y {OTHER}`, then `{_INSTALL}`"


def _write(message: str, hint: str) -> None:
    """Print the two lines of an error. Not with mlq.errors: the package may be damaged, or of the other project."""
    sys.stderr.write(f"mlq: {message}\nhint: {hint}\n")
