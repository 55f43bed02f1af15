"""mlq acl: the rights of a client, a submitter or a worker on Redis and Valkey, for the configured queues."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

import typer

from mlq.broker import roles
from mlq.broker.roles import Role
from mlq.cli.invocation import JsonCommand, begin, command, single
from mlq.errors import UsageError
from mlq.settings import parsers, server_url
from mlq.settings.config import Settings

app = single()

_LONGEST_PASSWORD: Final = 4096


class AclFormat(str, Enum):
    """What --format takes."""

    CLI = "cli"
    FILE = "file"


@dataclass(frozen=True)
class User:
    """A user of the server and its rights. `secret` is the SHA-256 of its password, None for one that is not told."""

    name: str
    role: Role
    queues: tuple[str, ...]
    rules: Sequence[str]
    secret: str | None

    def line(self, form: AclFormat) -> str:
        """Write the user for redis-cli, or for the server's ACL file.

        Without a password it has no `on`: whoever pastes the line gets no user that a password of ours opens.
        """
        access = [] if self.secret is None else ["on", f"#{self.secret}"]
        if form is AclFormat.FILE:
            return " ".join(["user", self.name, *(access or ["off"]), *self.rules])
        # Everything that it was before goes, its passwords only if it gets another one.
        fresh = ["reset"] if access else ["resetkeys", "clearselectors"]
        return " ".join(["ACL SETUSER", self.name, *fresh, *access, *self.rules])


RoleArgument = Annotated[Role, typer.Argument(help="client, submitter or worker.", metavar="ROLE")]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        help="Only this queue; may be said several times. Default: those of the configuration.",
        metavar="NAME",
    ),
]
Name = Annotated[str | None, typer.Option("--user", help="The user's name; the role's, if not said.", metavar="NAME")]
WithPassword = Annotated[
    bool,
    typer.Option("--password-stdin", help="Ask for a password, or read a line of stdin; its SHA-256 is printed."),
]
FormatOption = Annotated[
    AclFormat, typer.Option("--format", help="For redis-cli, or for a line of the server's ACL file.")
]


@command(app, cls=JsonCommand)
def acl(
    ctx: typer.Context,
    role: RoleArgument,
    *,
    queue: Queues = None,
    user: Name = None,
    password_stdin: WithPassword = False,
    form: FormatOption = AclFormat.CLI,
) -> None:
    """Print a user of the server that has the rights of ROLE and no other (Redis 7 and newer, Valkey).

    \b
    Examples:
      mlq acl client --queue realtime                  what a client of one queue may do
      mlq acl worker --password-stdin | redis-cli      asks for a password, and makes the user
      mlq acl submitter --user ci --format file        a line for the ACL file

    client: send tasks, collect results. submitter: also `mlq submit`, `result` and `job`, and to look at queues and
    workers. worker: workers and every command of mlq. Nothing is asked of a server. Without --password-stdin the line
    leaves the user's password as it is, and a new user is off until it has one.
    """
    call = begin(ctx)
    name = _user_name(role.value if user is None else user)
    if role is Role.WORKER and queue:
        raise UsageError(what="a worker needs every key, and --queue names one", fix="leave --queue out")
    queues = _queue_names(queue) if queue else call.settings.known_queues
    rules = roles.rules(role, queues, selects=_selects(call.settings))
    found = User(name, role, queues, rules, _hash_of_password(name) if password_stdin else None)
    for advice in _advice(call.settings, found, form):
        call.terminal.say(advice)
    call.terminal.show_text(document(found, form), found.line(form))


def document(user: User, form: AclFormat) -> dict[str, Any]:
    """mlq.acl/1: a user, its rights one by one, and the line that gives them."""
    return {
        "schema": "mlq.acl/1",
        "role": user.role.value,
        "user": user.name,
        "queues": None if user.role is Role.WORKER else list(user.queues),
        "rules": list(user.rules),
        "line": user.line(form),
    }


def _user_name(name: str) -> str:
    if not name or not name.isprintable() or any(c.isspace() or c in "\"'()" for c in name):
        raise UsageError(
            what=f"--user {name!r} is no name of a user: the server takes none with spaces, quotes or parentheses",
            fix="name it with letters, digits and - _ .",
        )
    return name


def _queue_names(given: list[str]) -> tuple[str, ...]:
    try:
        return parsers.names(given)
    except ValueError as exc:
        raise UsageError(what=f"--queue: {exc}", fix="name each queue once, as `mlq queues` shows it") from None


def _hash_of_password(user: str) -> str:
    """Read a password from where no other user of this host sees it, and give what the server keeps of it."""
    if sys.stdin.isatty():
        typed: str = typer.prompt(f"password of {user}", hide_input=True, confirmation_prompt=True, err=True)
        password = typed.encode()
    else:
        password = sys.stdin.buffer.readline(_LONGEST_PASSWORD + 2).rstrip(b"\r\n")
    if not 0 < len(password) <= _LONGEST_PASSWORD:
        raise UsageError(
            what=f"--password-stdin read a line of {len(password):,} bytes; a password has 1 to {_LONGEST_PASSWORD:,}",
            fix=f"`openssl rand -hex 32 > FILE` makes one: `mlq acl … --user {user} --password-stdin < FILE`",
        )
    return hashlib.sha256(password).hexdigest()


def _servers(settings: Settings) -> dict[str, server_url.ServerUrl]:
    """Give the Redis servers that the configuration names, by the variable that does."""
    named = {
        "MLQ_BROKER_URL": settings.broker_url,
        "MLQ_RESULT_BACKEND": settings.result_backend,
        "MLQ_STATE_URL": settings.state_url,
    }
    return {
        variable: server_url.read(url)
        for variable, url in named.items()
        if url is not None and url.partition("://")[0] in server_url.REDIS
    }


def _selects(settings: Settings) -> bool:
    return any(server.database for server in _servers(settings).values())


def _advice(settings: Settings, user: User, form: AclFormat) -> Iterator[str]:
    servers = _servers(settings)
    if settings.broker_url is not None and settings.broker_url.startswith("amqp"):
        yield "RabbitMQ has users of its own (`rabbitmqctl set_permissions`); this one is for the Redis beside it"
    elif len({server.url for server in servers.values()}) > 1:
        yield f"each server that {', '.join(servers)} name needs this user"
    if user.secret is None and form is AclFormat.FILE:
        yield f"user {user.name} is off: --password-stdin writes the line with its password"
    elif user.secret is None:
        yield f"the password of {user.name} stays as it is; a new user is off until --password-stdin sets one"
