"""Safety: what of a server's own configuration would lose messages or stop workers, and what cures it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq.broker import rights
from mlq.broker.connection import Address
from mlq.errors import BrokerRefused, EvictingBroker

if TYPE_CHECKING:
    from redis import Redis

_LOCAL_NAMES: Final = frozenset({"", "localhost"})


def check(redis: Redis, address: Address, queues: Sequence[str] = ()) -> list[str]:
    """Look at a Redis or Valkey server before workers rely on it; give warnings, each a sentence.

    INFO is asked, not CONFIG: managed servers deny the latter. Raises EvictingBroker, BrokerRefused, MissingRights.
    """
    from redis.exceptions import ResponseError

    try:
        info: Mapping[str, Any] = redis.info()
    except ResponseError as exc:
        rights.demand(redis, address, queues)
        return [f"the broker does not tell whether it evicts messages or keeps them on disk (INFO: {exc})"]
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        raise EvictingBroker(url=address.shown, policy=policy)
    _demand_primary(info, address)
    rights.demand(redis, address, queues)
    return warnings(address.url, info)


def _demand_primary(info: Mapping[str, Any], address: Address) -> None:
    """Refuse a replica, one that may be written to as well: its primary overwrites what was written."""
    if info.get("role") != "slave":
        return
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    reason = f"it is a read-only replica of {primary}"
    fix = f"set {address.setting} to the primary at {primary}, or to Sentinel (sentinel://), which knows the primary"
    raise BrokerRefused(url=address.shown, origin=address.origin, reason=reason, fix=fix)


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
