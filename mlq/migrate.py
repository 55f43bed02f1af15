"""Migration of the keys on the broker to another version, before an upgrade or a downgrade: python -m mlq.migrate"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mlq.broker import schema
from mlq.broker.connection import broker_address, connected, demand_redis, redis_client, state_address
from mlq.errors import MlqError, print_error
from mlq.exit_codes import ExitCode
from mlq.protocol import keys
from mlq.security.masking import guard_stderr
from mlq.settings.config import Settings, load
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from redis import Redis

_DESCRIPTION: Final = "Migrate the keys on the broker to another version, before an upgrade or a downgrade of mlq."


def main(argv: Sequence[str] | None = None) -> int:
    """Migrate the keys, and return the exit code: 0, or that of an error, which is written in two lines."""
    parser = argparse.ArgumentParser(prog="python -m mlq.migrate", description=_DESCRIPTION)
    parser.add_argument("--to", type=int, default=keys.SCHEMA_VERSION, help="version of the keys (default: the newest)")
    to: int = parser.parse_args(argv).to
    guard_stderr()
    try:
        _migrate(load(), to)
    except MlqError as exc:
        print_error(exc)
        return exc.exit_code
    return ExitCode.DONE


def _migrate(settings: Settings, to: int) -> None:
    address = broker_address(settings)
    demand_redis(address, "a migration")
    with connected(settings, address, any_schema=True) as connection:
        redis = redis_client(connection)
        for done in schema.migrate(redis, address, to, lambda: _alive(settings, redis)):
            sys.stdout.write(f"{done}\n")
    sys.stdout.write(f"the keys at {address.shown} are of version {to}\n")


def _alive(settings: Settings, redis: Redis) -> list[str]:
    """Return the ids of workers with a lease on the broker, or with a heartbeat in the state store."""
    leased = set(heartbeats.leased(redis))
    with connected(settings, state_address(settings), any_schema=True) as connection:
        found = heartbeats.read(redis_client(connection))
    return sorted(leased | {h.id for h in found if h.state not in {"failed", "lost"}})


if __name__ == "__main__":
    sys.exit(main())
