"""The sources of URLs: a URL is given directly, or as the file that holds it; a nearer source overrides both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mlq.security.masking import remember
from mlq.settings import url_file
from mlq.settings.errors import UnusableUrlFile, UrlGivenTwice

DEFAULT: Final = "default"

URLS: Final = ("broker_url", "result_backend", "state_url")
"""Keys whose value may be in a file that another key names."""

_NOT_GIVEN: Final = (None, DEFAULT)
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Variable with the directory of a systemd service's credentials (`LoadCredential=mlq.broker_url:…`)."""

_PREFIX: Final = "mlq."

Found = dict[str, tuple[Any, str]]
"""The settings of a source: dotted key → (value, origin)."""


def file_key(key: str) -> str:
    """Return the key that names the file with the value of another key."""
    return f"{key}_file"


def override(found: Found, layer: Found, overridden: dict[str, tuple[str, ...]]) -> None:
    """Remove from `found` the URLs and files that a nearer source overrides: a URL overrides a file, and vice versa.

    Args:
        found: The settings of the sources so far.
        layer: The settings of the nearer source.
        overridden: Key of a URL → the origins that are overridden; this function adds to it.

    Raises UrlGivenTwice if the nearer source has both a URL and a file.
    """
    for key in URLS:
        both = (key, file_key(key))
        given = [layer[k][1] for k in both if k in layer]
        if len(given) > 1:
            raise UrlGivenTwice(key=key, file_key=both[1], origins=" and ".join(dict.fromkeys(given)))
        if given:
            before = tuple(found[k][1] for k in both if found[k][1] != DEFAULT)
            if before:
                overridden[key] = (*overridden.get(key, ()), *before)
            found |= dict.fromkeys(both, _NOT_GIVEN)


def credentials(environ: Mapping[str, str]) -> Found:
    """Find the files with URLs among the credentials of a systemd service: mlq.broker_url and so on."""
    directory = environ.get(_CREDENTIALS)
    if not directory:
        return {}
    files = {key: Path(directory) / f"{_PREFIX}{key}" for key in URLS}
    return {file_key(key): (path, _CREDENTIALS) for key, path in files.items() if _is_there(path)}


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read(found: Found, parsers: Mapping[str, Callable[[Any], Any]]) -> None:
    """Replace each URL that is in a file by the content of the file. Raises UnusableUrlFile."""
    for key in URLS:
        path, named = found[file_key(key)]
        if path is None:
            continue
        try:
            url = url_file.read(path, parsers[key])
        except url_file.Unusable as exc:
            raise UnusableUrlFile(key=key, path=path, origin=named, reason=exc, fix=exc.fix) from None
        remember(url)
        found[key] = (url, f"{path}, named by {named}")
