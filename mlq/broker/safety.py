"""Safety: the check of a server's configuration for settings that would lose messages or stop workers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq.broker import rights_check
from mlq.broker.connection import Address
from mlq.broker.errors import BrokerRefused, EvictingBroker

if TYPE_CHECKING:
    from redis import Redis

_LOCAL_NAMES: Final = frozenset({"", "localhost"})


def check(redis: Redis, address: Address, queues: Sequence[str] = ()) -> list[str]:
    """Check a Redis or Valkey server before workers use it; return warnings, each a sentence.

    It uses INFO because managed servers deny CONFIG. Raises EvictingBroker, BrokerRefused, MissingRights.
    """
    from redis.exceptions import ResponseError

    try:
        info: Mapping[str, Any] = redis.info()
    except ResponseError as exc:
        rights_check.demand(redis, address, queues)
        return [f"the broker does not report whether it evicts messages or keeps them on disk (INFO: {exc})"]
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        raise EvictingBroker(url=address.shown, policy=policy)
    _demand_primary(info, address)
    rights_check.demand(redis, address, queues)
    return warnings(address.url, info)


def _demand_primary(info: Mapping[str, Any], address: Address) -> None:
    """Refuse a replica, even a writable one: its primary would overwrite all writes."""
    if info.get("role") != "slave":
        return
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    reason = f"it is a read-only replica of {primary}"
    fix = f"set {address.setting} to the primary at {primary}, or to Sentinel (sentinel://), which knows the primary"
    raise BrokerRefused(url=address.shown, origin=address.origin, reason=reason, fix=fix)


def warnings(url: str, info: Mapping[str, Any]) -> list[str]:
    """Return warnings about a usable server; this does no I/O."""
    sentences = []
    if info.get("aof_enabled") == 0:
        sentences.append(
            "the broker keeps no append-only file: if it crashes, messages are lost (`appendonly yes` keeps them)"
        )
    if urlsplit(url).scheme == "redis" and not _is_local(urlsplit(url).hostname or ""):
        sentences.append(
            "the broker is reached without TLS beyond this host: rediss:// keeps messages and passwords secret"
        )
    return sentences


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES
