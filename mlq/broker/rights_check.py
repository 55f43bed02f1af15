"""Rights: the check that the broker's user may do all that workers do. It tries each right, as users cannot list them.

Without the check a missing right would show during the work: for a channel as a connection that breaks repeatedly, for
a command as a message that is claimed and never completed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlq.broker.connection import Address
from mlq.broker.errors import MissingRights
from mlq.broker.refusals import DENIED
from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.keys import queue_keys

if TYPE_CHECKING:
    from redis import Redis

_RESULT: Final = "celery-task-meta-mlq-probe"
"""The key and the channel of a result, for a task that does not exist."""

_OTHERS: Final = (_RESULT, "_kombu.binding.celery", "unacked", "unacked_index")

_REFUSED: Final = re.compile(DENIED.pattern + r"|nknown (Redis )?command", re.IGNORECASE)
_DISABLED: Final = re.compile(r"nknown (Redis )?command", re.IGNORECASE)

_probe: Final = Script("server/probe")


def _run_probe(redis: Redis, *, key: str, result_key: str) -> list[bytes]:
    return list(_probe(redis, [key, result_key], []))


def demand(redis: Redis, address: Address, queues: Sequence[str]) -> None:
    """Try every command, key and channel that workers use, and leave nothing behind. Raises MissingRights."""
    refused = dict(_refused_commands(redis))
    missing_keys = [] if "EVAL" in refused else list(_refused_keys(redis, queues))
    channels = list(_refused_channels(redis))
    disabled = [name for name, said in refused.items() if _DISABLED.search(said)]
    forbidden = [name for name in refused if name not in disabled]
    missing = [
        _listed("the channels", channels),
        _listed("the keys", missing_keys),
        _listed("the commands", forbidden),
        _listed("commands that are renamed or disabled there:", disabled),
    ]
    if not any(missing):
        return
    rules = ["'&*'"] * bool(channels) + ["'~*'"] * bool(missing_keys) + [f"+{name.lower()}" for name in forbidden]
    user = _user(redis)
    grant = (
        f"`redis-cli ACL SETUSER {user} {' '.join(rules)}` there gives its user what is missing; "
        f"`mlq acl worker --user {user}` prints all rights of a worker"
    )
    allow = f"allow these there (`rename-command`), or set {address.setting} to another server"
    fix = "; ".join([grant] * bool(rules) + [allow] * bool(disabled))
    raise MissingRights(url=address.shown, origin=address.origin, reason="; ".join(filter(None, missing)), fix=fix)


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""


def _user(redis: Redis) -> str:
    given = redis.connection_pool.connection_kwargs
    provider = given.get("credential_provider")  # set if the URL is read from a file
    user = provider.user if provider is not None else given.get("username")
    return str(user or "default")


def _refused_commands(redis: Redis) -> Iterator[tuple[str, str]]:
    """Try the commands of scripts, then the others; yield each refused command with the server's error."""
    from redis.exceptions import ResponseError

    try:
        said = [word.decode() for word in _run_probe(redis, key=keys.PROBE, result_key=_RESULT)]
        yield from ((name, why) for name, why in zip(said[::2], said[1::2], strict=True) if _REFUSED.search(why))
    except ResponseError as exc:
        if _REFUSED.search(str(exc)) and "key" not in str(exc):
            yield "EVAL", str(exc)
    calls = (
        ("BRPOP", keys.PROBE, "0.01"),
        ("SISMEMBER", keys.PROBE, ""),
        ("HSCAN", keys.PROBE, "0"),
        ("MGET", keys.PROBE),
        ("PTTL", keys.PROBE),
        ("SETEX", keys.PROBE, "1", ""),
        ("MULTI",),
        ("EXEC",),
    )
    with redis.pipeline(transaction=False) as pipe:
        commands: Any = pipe
        for call in calls:
            commands.execute_command(*call)
        replies = pipe.execute(raise_on_error=False)
    for (name, *_), reply in zip(calls, replies, strict=True):
        if isinstance(reply, ResponseError) and _REFUSED.search(str(reply)) and "key" not in str(reply):
            yield name, str(reply)


def _refused_keys(redis: Redis, queues: Sequence[str]) -> Iterator[str]:
    """Yield the refused keys: the server checks the rights to a script's keys before it runs even an empty script."""
    from redis.exceptions import ResponseError

    names = [keys.PROBE, *_OTHERS, *(key for queue in queues for key in queue_keys(queue))]
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.eval("return 0", 1, name)
        replies = pipe.execute(raise_on_error=False)
    for name, reply in zip(names, replies, strict=True):
        if isinstance(reply, ResponseError) and _REFUSED.search(str(reply)):
            yield "mlq:*" if name == keys.PROBE else name.replace("mlq-probe", "*")


def _refused_channels(redis: Redis) -> Iterator[str]:
    """Subscribe to Celery's control channel as kombu does, and publish a result; yield the refused channels."""
    from redis.exceptions import ResponseError

    control = f"/{redis.connection_pool.connection_kwargs.get('db', 0)}.celery.pidbox"
    client: Any = redis
    with client.pubsub() as listening:
        try:
            listening.psubscribe(control)
            listening.get_message(timeout=1)
        except ResponseError as exc:
            if _REFUSED.search(str(exc)):
                yield control
    try:
        redis.publish(_RESULT, "")
    except ResponseError as exc:
        if _REFUSED.search(str(exc)):
            yield _RESULT.replace("mlq-probe", "*")
