"""Compressed bodies (`task_compression`): kombu's compression methods, with a limit on the decompressed size."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

LARGEST_BYTES: Final = 32 * 2**20
"""Bytes that a body may have after decompression, the same as an uncompressed message: 32 KiB of zlib can hold
as much, and a few MiB could fill the host's memory."""

_LZMA_MEMORY: Final = 128 * 2**20
"""Bytes of the largest dictionary that a body may use; the highest preset uses 65 MiB."""


class TooLargeInside(ValueError):
    """A compressed body decompresses to more than LARGEST_BYTES."""


def method_of(name: Any) -> str | None:
    """Return the content type of a compression method, given any of its names in kombu; None if it is not supported."""
    if not isinstance(name, str):
        return None
    known = _ALIASES.get(name, name)
    return known if known in _METHODS else None


def decompress(data: bytes, method: str) -> bytes:
    """Decompress a body; `method` is a content type from `method_of`.

    Raises TooLargeInside, and ValueError for data that is damaged or cut off.
    """
    try:
        decompressor = _METHODS[method]()
        found: bytes = decompressor.decompress(data, LARGEST_BYTES + 1)
    except _DAMAGED as exc:
        raise ValueError(str(exc)) from None
    if len(found) > LARGEST_BYTES:
        raise TooLargeInside(f"more than {LARGEST_BYTES:,} bytes")
    if not decompressor.eof:
        raise ValueError("the end is missing")
    return found


def install() -> None:
    """Set the same limit for kombu in this process, because kombu reads messages that the engine does not.

    A method for which no limit is implemented (brotli, where it is installed) is refused.
    """
    from kombu import compression

    stock: Any = compression
    for method in stock.encoders():
        encoder, _ = stock.get_encoder(method)
        bounded = partial(decompress, method=method) if method in _METHODS else partial(_refuse, method=method)
        stock.register(encoder, bounded, method)


def _refuse(data: bytes, method: str) -> bytes:
    raise ValueError(f"{len(data):,} bytes are compressed ({method}), which is not read here")


def _zstd() -> Any:
    """Return the module that kombu uses for zstd; None if it is not installed."""
    try:
        return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        return None


_ZSTD: Final = _zstd()
_DAMAGED: Final[tuple[type[Exception], ...]] = (
    *(zlib.error, lzma.LZMAError, OSError, EOFError),
    *(() if _ZSTD is None else (_ZSTD.ZstdError,)),
)

_METHODS: Final[dict[str, Callable[[], Any]]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=_LZMA_MEMORY),
    **({} if _ZSTD is None else {"application/zstd": _ZSTD.ZstdDecompressor}),
}

_ALIASES: Final = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}
