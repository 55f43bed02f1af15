"""Safety: what of a server's own configuration would lose messages, and what would mend it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from mlq.broker.connection import Address
from mlq.errors import EvictingBroker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

_LOCAL_NAMES: Final = frozenset({"", "localhost"})


def check(redis: Redis, address: Address) -> list[str]:
    """Look at a Redis or Valkey server before workers rely on it; give warnings, each a sentence.

    INFO is asked, not CONFIG: managed servers deny the latter. Raises EvictingBroker.
    """
    info = cast("Mapping[str, Any]", redis.info())
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        raise EvictingBroker(url=address.shown, policy=policy)
    return warnings(address.url, info)


def warnings(url: str, info: Mapping[str, Any]) -> list[str]:
    """Tell what a user should know of a server that can be worked with. Pure."""
    said = []
    if info.get("aof_enabled") == 0:
        said.append(
            "the broker keeps no append-only file: if it crashes, messages are lost (`appendonly yes` keeps them)"
        )
    if urlsplit(url).scheme == "redis" and not _is_local(urlsplit(url).hostname or ""):
        said.append("the broker is reached without TLS beyond this host: rediss:// keeps messages and passwords secret")
    return said


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES
