"""Warnings about settings that work but weaken the protection of passwords and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlq.settings import url_file
from mlq.settings.url_sources import URLS

if TYPE_CHECKING:
    from mlq.settings.config import Settings


def of_settings(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each such setting."""
    for key in URLS:
        file = settings.url_file(key)
        said = url_file.warning(file) if file is not None else None
        if said is not None:
            yield said
    if any("ssl_" in str(settings.get(key)) for key in (*URLS, "broker_transport_options")):
        from mlq.settings import tls  # ssl takes 10 ms to import

        yield from tls.warnings(settings)
