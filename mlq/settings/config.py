"""Settings: default < file < environment < flag, each value with its origin."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from mlq.errors import (
    InvalidSetting,
    NoStateDirectory,
    PasswordInArguments,
    StateDirectoryUnusable,
    UnknownSetting,
    UntrustedState,
)
from mlq.protocol.names import BARE_QUEUE, Controls
from mlq.security.masking import remember, without_passwords
from mlq.security.trust import doubt
from mlq.settings import config_files, parsers, url_sources
from mlq.settings.url_sources import URLS, Found, file_key

DEFAULT: Final = url_sources.DEFAULT
ORIGINS: Final = "MLQ_ORIGINS"
"""Set by a supervisor for its workers, see to_environment."""


@dataclass(frozen=True)
class Setting:
    """What there is to know of one key: `dotted` in a file, `variables` in the environment (first wins)."""

    dotted: str
    help: str
    parse: Callable[[Any], Any]
    default: Any
    also: tuple[str, ...]
    secret: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """Names in the environment: ours, then those of other tools that are accepted after it."""
        return ("MLQ_" + self.dotted.replace(".", "_").upper(), *self.also)


def _setting(
    parse: Callable[[Any], Any], default: Any, text: str, *, also: tuple[str, ...] = (), secret: bool = False
) -> Any:
    return field(default=default, metadata={"parse": parse, "help": text, "also": also, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """[worker]: what one inference process serves."""

    model: str | None = _setting(parsers.text, None, "the model to serve: a file, or file.py:Class")
    output: Literal["raw", "classify"] = _setting(
        parsers.one_of("raw", "classify"), "raw", "raw: the model's numbers; classify: class and confidence"
    )
    queues: tuple[str, ...] | None = _setting(
        parsers.queue_names, None, "queues that a worker serves, most urgent first; unset: all of them"
    )
    shares: Mapping[str, float] | None = _setting(
        parsers.shares, None, 'device time that a queue gets at least: {"batch" = 0.1}; unset: strictly in order'
    )
    imports: tuple[str, ...] | None = _setting(
        parsers.names, None, "modules with tasks of your own (@shared_task), imported by every worker before it serves"
    )
    max_batch_size: int = _setting(parsers.count, 32, "rows in one forward, for a model that names no limit of its own")
    max_wait: float = _setting(parsers.patience, 0.0, "seconds that rows wait for others to fill a batch")
    time_limit: float | None = _setting(
        parsers.seconds, None, "seconds after which a task or a forward is ended with its process; unset: none"
    )
    soft_time_limit: float | None = _setting(
        parsers.seconds, None, "seconds after which a task or a forward gets SoftTimeLimitExceeded; unset: none"
    )
    max_tasks: int | None = _setting(parsers.count, None, "tasks after which a worker is replaced; unset: never")
    max_crashes: int = _setting(
        parsers.count, 3, "workers that a message may take down alone before it is a dead letter"
    )
    max_memory: int | None = _setting(
        parsers.size, None, "resident memory above which a worker is replaced: bytes, or 4GiB; unset: never"
    )
    min_time_limit: float = _setting(
        parsers.seconds, 1.0, "seconds that a limit which comes with a message has at least"
    )
    message_time_limits: Literal["heed", "ignore"] = _setting(
        parsers.one_of("heed", "ignore"), "heed", "heed: a message may bring time limits of its own; ignore: it may not"
    )
    error_texts: Literal["keep", "withhold"] = _setting(
        parsers.one_of("keep", "withhold"),
        "keep",
        "withhold: logs and results name the types of exceptions of models and tasks, not their texts",
    )
    drain_timeout: float | None = _setting(
        parsers.patience, None, "seconds after which a drain gives back what still runs; unset: as long as it takes"
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user configured. `origins` says of each dotted key where its value came from."""

    broker_url: str | None = _setting(
        parsers.broker_url, None, "where the queues are", also=("CELERY_BROKER_URL",), secret=True
    )
    broker_url_file: Path | None = _setting(
        parsers.path, None, "file that holds broker_url, for a URL with a password; read again for each connection"
    )
    result_backend: str | None = _setting(
        parsers.result_backend, None, 'where answers are kept; unset: at the broker; "none": nowhere', secret=True
    )
    result_backend_file: Path | None = _setting(
        parsers.path, None, "file that holds result_backend, for a URL with a password; read again for each connection"
    )
    state_url: str | None = _setting(
        parsers.redis_url, None, "where workers and jobs are recorded; unset: at the broker", secret=True
    )
    state_url_file: Path | None = _setting(
        parsers.path, None, "file that holds state_url, for a URL with a password; read again for each connection"
    )
    queues: tuple[str, ...] = _setting(
        parsers.queue_names, ("realtime", "default", "batch"), "queue names, most urgent first"
    )
    queue: Mapping[str, Mapping[str, Any]] | None = _setting(
        parsers.queue_options,
        None,
        'how RabbitMQ is to declare a queue: {"realtime" = {arguments = {"x-max-priority" = 10}}}; unused on Redis',
    )
    priority_order: Literal["mlq", "stock"] = _setting(
        parsers.one_of("mlq", "stock"), "mlq", "mlq: 9 before 0; stock: 0 before 9, as stock workers serve a queue"
    )
    result_expires: int = _setting(parsers.count, 3600, "seconds that an answer is kept")
    visibility_timeout: float = _setting(
        parsers.seconds,
        3600.0,
        "seconds after which Celery's own transport takes a worker for dead; mlq's have leases",
    )
    lease: float = _setting(
        parsers.seconds,
        3.0,
        "seconds of silence after which a host is taken for dead, and its work given to others",
    )
    socket_timeout: float = _setting(
        parsers.seconds, 5.0, "seconds without a word from the broker that count as: it is away"
    )
    broker_transport_options: Mapping[str, Any] | None = _setting(
        parsers.table, None, "handed to kombu as they are, over mlq's own", secret=True
    )
    aliases: Mapping[str, str] | None = _setting(
        parsers.aliases, None, 'foreign task names that the model answers too: {"their.predict" = "mlq.predict"}'
    )
    controls: Controls = _setting(
        parsers.one_of("inspect", "all", "none"),
        "inspect",
        "which of Celery's control messages are obeyed: inspect: questions, revokes and rate limits; all; none",
    )
    state_dir: Path | None = _setting(
        parsers.path, None, "sockets, logs, the embedded broker's data; unset: under $XDG_STATE_HOME"
    )
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    origins: Mapping[str, str] = field(default_factory=dict)
    overridden: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Of each URL, the places that name another one and do not count, the weakest first."""

    def __repr__(self) -> str:
        told = {s.dotted: shown(s, self.get(s.dotted)) for s in SETTINGS if self.origin(s.dotted) != DEFAULT}
        return f"Settings({told})"

    @property
    def urgent_queue(self) -> str:
        """Where single rows go: the first queue."""
        return self.queues[0]

    @property
    def default_queue(self) -> str:
        """Where tasks go that name no queue: the second, if there is one."""
        return self.queues[min(1, len(self.queues) - 1)]

    @property
    def batch_queue(self) -> str:
        """Where the rows of files go: the last queue."""
        return self.queues[-1]

    @property
    def served_queues(self) -> tuple[str, ...]:
        """Name what a worker serves, most urgent first; who serves default serves bare clients too, last."""
        served = self.worker.queues or self.queues
        return (*served, BARE_QUEUE) if self.default_queue in served else served

    @property
    def known_queues(self) -> tuple[str, ...]:
        """Name every queue that the configuration knows, the configured ones first, in their order."""
        return tuple(dict.fromkeys((*self.queues, *(self.worker.queues or ()), *(self.queue or ()), BARE_QUEUE)))

    def queue_arguments(self, name: str) -> Mapping[str, Any]:
        """Give the arguments with which RabbitMQ is to declare a queue."""
        arguments: Mapping[str, Any] = (self.queue or {}).get(name, {}).get("arguments", {})
        return arguments

    def origin(self, dotted: str) -> str:
        """Name the place that decided the value of a key, in words for an error."""
        return self.origins.get(dotted, DEFAULT)

    def url_file(self, dotted: str) -> Path | None:
        """Name the file that a URL was read from."""
        found: Path | None = self.get(file_key(dotted))
        return found

    def get(self, dotted: str) -> Any:
        """Look a value up by the key that a user would write."""
        value: Any = self
        for part in dotted.split("."):
            value = getattr(value, part)
        return value

    def replace(self, values: Mapping[str, tuple[Any, str]]) -> Settings:
        """Override dotted keys by (value, origin); a value of None overrides nothing, and none is parsed."""
        given = {key: v for key, v in values.items() if v[0] is not None}
        known = {s.dotted: (self.get(s.dotted), self.origin(s.dotted)) for s in SETTINGS}
        return dataclasses.replace(_build({**known, **given}), overridden=self.overridden)


def _declared(cls: type, prefix: str = "") -> Iterator[Setting]:
    for f in fields(cls):
        if "parse" in f.metadata:
            yield _from_field(f, prefix)
        elif f.name == "worker":
            yield from _declared(WorkerSettings, "worker.")


def _from_field(f: Field[Any], prefix: str) -> Setting:
    return Setting(dotted=prefix + f.name, default=f.default, **f.metadata)


SETTINGS: Final = tuple(_declared(Settings))
"""Every key there is, in the order in which `mlq config` shows them."""

_BY_KEY: Final = {s.dotted: s for s in SETTINGS}


def load(
    environ: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, tuple[Any, str]] | None = None,
    config: Path | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read every source and let the nearest to the user win.

    `flags` maps a dotted key to (value, name of the flag); None as a value means: not given.
    A worker takes all from its supervisor, which has read the files: --config, or the files of another moment, must not
    make it another worker than its operator started.

    Raises BadConfigFile, UntrustedConfig, UnknownSetting, InvalidSetting, UrlGivenTwice, UnusableUrlFile,
    PasswordInArguments.
    """
    environ = os.environ if environ is None else environ
    is_worker = config is None and ORIGINS in environ
    files = [] if is_worker else config_files.read_all(environ, config, cwd or _working_directory())
    found: Found = {s.dotted: (s.default, DEFAULT) for s in SETTINGS}
    overridden: dict[str, tuple[str, ...]] = {}
    layers = (
        *(_from_file(path, table) for path, table in files),
        url_sources.credentials(environ),
        _from_environment(environ),
        _from_flags(flags or {}),
    )
    for layer in layers:
        url_sources.override(found, layer, overridden)
        found |= layer
    url_sources.read(found, {key: _BY_KEY[key].parse for key in URLS})
    return dataclasses.replace(_build(found), overridden=overridden)


def _build(found: Mapping[str, tuple[Any, str]]) -> Settings:
    worker = {k.removeprefix("worker."): v for k, (v, _) in found.items() if k.startswith("worker.")}
    rest = {k: v for k, (v, _) in found.items() if not k.startswith("worker.")}
    return Settings(**rest, worker=WorkerSettings(**worker), origins={k: o for k, (_, o) in found.items()})


def _parse(setting: Setting, value: Any, origin: str) -> Any:
    if setting.secret:
        remember(value)
    try:
        return setting.parse(value)
    except (TypeError, ValueError) as exc:
        told = _brief(shown(setting, value))
        raise InvalidSetting(key=setting.dotted, value=told, origin=origin, reason=exc) from None


def _brief(value: Any) -> Any:
    """Give a value that an error can quote: TOML has whole numbers of more digits than Python writes."""
    try:
        repr(value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} that cannot be shown"
    return value


def _from_flags(flags: Mapping[str, tuple[Any, str]]) -> Found:
    given = {key: v for key, v in flags.items() if v[0] is not None}
    for key, (value, flag) in given.items():
        if _BY_KEY[key].secret and shown(_BY_KEY[key], value) != value:
            raise PasswordInArguments(flag=flag, variable=_BY_KEY[key].variables[0])
    return {key: (_parse(_BY_KEY[key], value, flag), flag) for key, (value, flag) in given.items()}


def _from_environment(environ: Mapping[str, str]) -> Found:
    origins = _told_origins(environ)
    found: Found = {}
    for setting in SETTINGS:
        names = setting.variables
        if environ.get(f"{names[0]}_FILE") and setting.dotted in URLS:
            names = names[:1]  # what other tools call it comes after both of ours
        name = next((v for v in names if environ.get(v)), None)
        if name is not None:
            origin = origins.get(setting.dotted, name)
            found[setting.dotted] = (_parse(setting, environ[name], origin), origin)
    return found


def _told_origins(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Read where a supervisor's values came from; what was not written by one names no origins."""
    try:
        told = json.loads(environ.get(ORIGINS) or "{}")
    except (ValueError, RecursionError):
        return {}
    return {k: o for k, o in told.items() if isinstance(o, str)} if isinstance(told, dict) else {}


def to_environment(settings: Settings) -> dict[str, str]:
    """Write settings as environment variables: how a supervisor hands them to its workers, never by argv.

    The origins go along, so that a worker's error still names the flag or file that its operator used. A URL that is
    in a file stays there: a worker that starts later reads what is in the file by then.
    """
    in_files = {key for key in URLS if settings.url_file(key) is not None}
    changed = [s for s in SETTINGS if settings.origin(s.dotted) != DEFAULT and s.dotted not in in_files]
    values = {s.variables[0]: _written(settings.get(s.dotted)) for s in changed}
    for key in URLS:  # a worker inherits the environment of its supervisor, which may name another source
        url, file = (_BY_KEY[k].variables[0] for k in (key, file_key(key)))
        if url in values or file in values:
            values = {url: "", file: "", **values}
    return {**values, ORIGINS: json.dumps({s.dotted: settings.origin(s.dotted) for s in changed})}


def _written(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _working_directory() -> Path | None:
    """Give the working directory; None where it was removed under us."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _from_file(path: Path, table: Mapping[str, Any]) -> Found:
    found = {}
    for key, value in _flatten(table):
        setting = _BY_KEY.get(key)
        if setting is None:
            raise UnknownSetting(key=key, origin=path, nearest=_nearest(key))
        if key in map(file_key, URLS) and isinstance(value, str) and not value.startswith("~"):
            value = str(path.parent.absolute() / value)  # noqa: PLW2901 (as its author meant it: beside the file)
        found[key] = (_relative(path, _parse(setting, value, str(path)), key), str(path))
    return found


def _relative(path: Path, value: Any, key: str) -> Any:
    """Read a model's path as its author meant it: from the file that names it, not from where mlq runs."""
    if key != "worker.model":
        return value
    beside = path.parent / value.partition(":")[0]
    return str(path.parent / value) if _exists(beside) else value


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, for one
        return False


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        dotted = prefix + key
        if isinstance(value, dict) and dotted not in _BY_KEY:
            yield from _flatten(value, dotted + ".")
        else:
            yield dotted, value


def _nearest(key: str) -> str:
    return difflib.get_close_matches(key, _BY_KEY, n=1, cutoff=0)[0]


def shown(setting: Setting, value: Any) -> Any:
    """Give a setting's value as it may be printed."""
    return without_passwords(value) if setting.secret else value


def state_directory(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Find where this user's sockets, logs and embedded broker live; the callers make what they need.

    Raises NoStateDirectory for a user without a home, UntrustedState where another user could change what is there:
    among it is which program to start as the broker.
    """
    state = settings.state_dir or _default_state(os.environ if environ is None else environ)
    try:
        why = doubt(state, state.stat())
    except (OSError, ValueError):  # it is not there, or can never be: to whoever uses it
        return state
    if why is not None:
        raise UntrustedState(path=state, reason=why.what, remedy=why.remedy)
    return state


def _default_state(environ: Mapping[str, str]) -> Path:
    try:
        return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mlq"
    except RuntimeError:
        raise NoStateDirectory(uid=os.getuid()) from None


def make_state_directory(settings: Settings) -> Path:
    """Make the directory of `state_directory`, for this user alone, and see that it can be written to.

    Raises NoStateDirectory, UntrustedState, StateDirectoryUnusable.
    """
    state = state_directory(settings)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        raise StateDirectoryUnusable(path=state, reason=getattr(exc, "strerror", None) or exc) from None
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirectoryUnusable(path=state, reason="this user may not write there")
    return state_directory(settings)  # which another user may have made first, in a directory like /tmp
