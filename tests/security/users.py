"""The users that `mlq acl` prints, created on a server."""

from __future__ import annotations

import hashlib
from typing import Any

from redis import Redis

from mlq.broker import roles
from mlq.broker.roles import Role
from mlq.commands.acl import AclFormat, User
from mlq.settings import config
from tests.server_programs import free_port

ROLES = ("client", "submitter", "worker")
PASSWORD = "of-a-test"  # noqa: S105 (for servers that end with their test)


def line(role: str, form: AclFormat = AclFormat.CLI) -> str:
    """Return the line of a user with its password, as `mlq acl` prints it without configuration."""
    queues, whose = config.load({}).known_queues, Role(role)
    rights = roles.rules(whose, queues, selects=False)
    return User(role, whose, queues, rights, hashlib.sha256(PASSWORD.encode()).hexdigest()).line(form)


def make(redis: Redis, role: str) -> None:
    """Run such a line on a server, split at spaces as by redis-cli."""
    redis.execute_command(*line(role).split(" "))  # type: ignore[no-untyped-call]


def make_all(redis: Redis) -> int:
    """Create the three users on a server that also listens on a port; return the port. The nameless user stays."""
    port = free_port()
    redis.config_set("port", port)
    for role in ROLES:
        make(redis, role)
    return port


def url(role: str, port: int) -> str:
    """Return the URL of a user."""
    return f"redis://{role}:{PASSWORD}@127.0.0.1:{port}/0"


def dry_run(redis: Redis, role: str, *words: str) -> str:
    """Return the server's reply whether a user may run a command: OK, or the reason why not."""
    reply: Any = redis.execute_command("ACL", "DRYRUN", role, *words)  # type: ignore[no-untyped-call]
    return reply.decode() if isinstance(reply, bytes) else str(reply)
