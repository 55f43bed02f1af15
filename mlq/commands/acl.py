"""The command `mlq acl`: print a user of Redis or Valkey with the rights of a client, a submitter or a worker."""

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
    """The values of --format."""

    CLI = "cli"
    FILE = "file"


@dataclass(frozen=True)
class User:
    """A user of the server and its rights."""

    name: str
    role: Role
    queues: tuple[str, ...]
    rules: Sequence[str]
    """Rules of the server's ACL, in its own syntax."""
    secret: str | None
    """SHA-256 of the password in hexadecimal digits, None to leave the password as it is."""

    def line(self, form: AclFormat) -> str:
        """Write the user for redis-cli, or for the server's ACL file.

        Without a password the user is not switched on, so that the line cannot create a user without a password.
        """
        access = [] if self.secret is None else ["on", f"#{self.secret}"]
        if form is AclFormat.FILE:
            return " ".join(["user", self.name, *(access or ["off"]), *self.rules])
        # All earlier rights are removed; earlier passwords are removed only if there is a new one.
        removal = ["reset"] if access else ["resetkeys", "clearselectors"]
        return " ".join(["ACL SETUSER", self.name, *removal, *access, *self.rules])


RoleArgument = Annotated[Role, typer.Argument(help="Role of the user: client, submitter or worker.", metavar="ROLE")]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        help="Queue that the user may use; can be given several times (default: the configured queues).",
        metavar="NAME",
    ),
]
Name = Annotated[
    str | None, typer.Option("--user", help="Name of the user (default: the name of the role).", metavar="NAME")
]
WithPassword = Annotated[
    bool,
    typer.Option("--password-stdin", help="Ask for a password, or read it from a line of stdin; print its SHA-256."),
]
FormatOption = Annotated[
    AclFormat,
    typer.Option(
        "--format",
        help="Form of the line: cli for redis-cli (the default), or file for the server's ACL file.",
        show_default=False,
    ),
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
    """Print a user of Redis 7 or Valkey with the rights of ROLE only.

    \b
    Examples:
      mlq acl client --queue realtime                the rights for one queue
      mlq acl worker --password-stdin | redis-cli    ask for a password, create the user
      mlq acl submitter --user ci --format file      a line for the ACL file

    A client sends tasks and collects results. A submitter also uses `mlq submit`, `result` and `job`, and looks at
    queues and workers. A worker runs workers and every command of mlq. The command does not connect to a server.
    Without --password-stdin the line leaves the password of the user unchanged; a new user stays off until it has one.
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
    """Describe a user, its rules and the line that sets them, as mlq.acl/1."""
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
            what=f"--user {name!r} is not a user name: the server allows no spaces, quotes or parentheses in it",
            fix="name it with letters, digits and - _ .",
        )
    return name


def _queue_names(given: list[str]) -> tuple[str, ...]:
    try:
        return parsers.names(given)
    except ValueError as exc:
        raise UsageError(what=f"--queue: {exc}", fix="name each queue once, as `mlq queues` shows it") from None


def _hash_of_password(user: str) -> str:
    """Read a password from the terminal or stdin, where no other user of this host can see it; return its SHA-256."""
    if sys.stdin.isatty():
        typed: str = typer.prompt(f"password of {user}", hide_input=True, confirmation_prompt=True, err=True)
        password = typed.encode()
    else:
        password = sys.stdin.buffer.readline(_LONGEST_PASSWORD + 2).rstrip(b"\r\n")
    if not 0 < len(password) <= _LONGEST_PASSWORD:
        raise UsageError(
            what=f"--password-stdin read a line of {len(password):,} bytes; a password has 1 to {_LONGEST_PASSWORD:,}",
            fix=f"`openssl rand -hex 32 > FILE`, then `mlq acl … --user {user} --password-stdin < FILE`",
        )
    return hashlib.sha256(password).hexdigest()


def _servers(settings: Settings) -> dict[str, server_url.ServerUrl]:
    """Return the configured Redis servers, each by the environment variable of its URL."""
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
        yield "this user is for the Redis server only; RabbitMQ has its own users (`rabbitmqctl set_permissions`)"
    elif len({server.url for server in servers.values()}) > 1:
        yield f"each server that {', '.join(servers)} name needs this user"
    if user.secret is None and form is AclFormat.FILE:
        yield f"the user {user.name} is off; with --password-stdin the line sets a password and switches the user on"
    elif user.secret is None:
        yield f"the password of {user.name} is unchanged; a new user is off until --password-stdin sets a password"
