"""The settings: every key, and its value from default < file < environment < flag, with the place it came from."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from mlq.errors import StateDirectoryUnusable
from mlq.protocol.names import BARE_QUEUE, Controls
from mlq.security.masking import remember, without_passwords
from mlq.security.trust import doubt
from mlq.settings import config_files, parsers, url_sources
from mlq.settings.errors import InvalidSetting, NoStateDirectory, PasswordInArguments, UnknownSetting, UntrustedState
from mlq.settings.setting import Setting, declare
from mlq.settings.url_sources import URLS, Found, file_key

DEFAULT: Final = url_sources.DEFAULT
ORIGINS: Final = "MLQ_ORIGINS"
"""Environment variable in which a supervisor tells its workers where its values came from; see `to_environment`."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The table [worker]: how a worker serves, and when it is replaced."""

    model: str | None = declare(parsers.text, None, "Model to serve: model.pt2, model.pt or serve.py:Class")
    output: Literal["raw", "classify"] = declare(
        parsers.one_of("raw", "classify"),
        "raw",
        "Form of the results: raw for the model's numbers, classify for class and confidence",
    )
    queues: tuple[str, ...] | None = declare(
        parsers.queue_names, None, "Queues to serve, most urgent first", unset="all configured queues"
    )
    shares: Mapping[str, float] | None = declare(
        parsers.shares,
        None,
        "Smallest fraction of device time for a queue, such as batch=0.1",
        unset="none, strictly in the order of the queues",
    )
    imports: tuple[str, ...] | None = declare(
        parsers.names, None, "Modules with your own tasks (@shared_task), imported by every worker at startup"
    )
    max_batch_size: int = declare(
        parsers.count, 32, "Most rows in one forward pass, for a model that sets no limit of its own"
    )
    max_wait: float = declare(parsers.duration, 0.0, "Seconds to wait for more rows before running a partial batch")
    time_limit: float | None = declare(
        parsers.positive_duration,
        None,
        "Seconds after which a running task or forward pass is ended together with its process",
        unset="no limit",
    )
    soft_time_limit: float | None = declare(
        parsers.positive_duration,
        None,
        "Seconds after which SoftTimeLimitExceeded is raised in a running task or forward pass",
        unset="no limit",
    )
    max_tasks: int | None = declare(
        parsers.count, None, "Number of tasks after which a worker is replaced", unset="no limit"
    )
    max_crashes: int = declare(
        parsers.count, 3, "Number of workers that a message may crash on its own before it becomes a dead letter"
    )
    max_memory: int | None = declare(
        parsers.size,
        None,
        "Bytes of resident memory above which a worker is replaced",
        unset="no limit",
    )
    min_time_limit: float = declare(
        parsers.positive_duration, 1.0, "Seconds to which a shorter time limit in a message is raised"
    )
    message_time_limits: Literal["heed", "ignore"] = declare(
        parsers.one_of("heed", "ignore"), "heed", "Whether workers heed or ignore the time limits in a message"
    )
    error_texts: Literal["keep", "withhold"] = declare(
        parsers.one_of("keep", "withhold"),
        "keep",
        "Whether logs and results keep the texts of exceptions of models and tasks, or withhold them and name only"
        " the types",
    )
    drain_timeout: float | None = declare(
        parsers.duration,
        None,
        "Seconds to wait for running tasks during a drain; after that they go back to the queue",
        unset="no limit",
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of one process, with the place that each value came from."""

    broker_url: str | None = declare(
        parsers.broker_url,
        None,
        "URL of the broker that holds the queues",
        unset="the embedded broker",
        also=("CELERY_BROKER_URL",),
        secret=True,
    )
    broker_url_file: Path | None = declare(
        parsers.path, None, "File that holds broker_url, for a URL with a password; read again for each connection"
    )
    result_backend: str | None = declare(
        parsers.result_backend,
        None,
        'URL of the store that keeps results, or "none" to keep no results',
        unset="the broker",
        secret=True,
    )
    result_backend_file: Path | None = declare(
        parsers.path, None, "File that holds result_backend, for a URL with a password; read again for each connection"
    )
    state_url: str | None = declare(
        parsers.redis_url,
        None,
        "URL of the Redis server that records workers and jobs",
        unset="the broker, or the result backend beside RabbitMQ",
        secret=True,
    )
    state_url_file: Path | None = declare(
        parsers.path, None, "File that holds state_url, for a URL with a password; read again for each connection"
    )
    queues: tuple[str, ...] = declare(
        parsers.queue_names, ("realtime", "default", "batch"), "Names of the queues, most urgent first"
    )
    queue: Mapping[str, Mapping[str, Any]] | None = declare(
        parsers.queue_options,
        None,
        'Arguments with which RabbitMQ declares a queue: {"realtime" = {arguments = {"x-max-priority" = 10}}};'
        " Redis has none",
    )
    priority_order: Literal["mlq", "stock"] = declare(
        parsers.one_of("mlq", "stock"),
        "mlq",
        "Order within a queue: mlq (priority 9 first) or stock (priority 0 first, as stock Celery workers do)",
    )
    result_expires: int = declare(parsers.whole_seconds, 3600, "Seconds to keep a result")
    visibility_timeout: float = declare(
        parsers.positive_duration,
        3600.0,
        "Seconds after which Celery's own transport delivers an unacknowledged message again; mlq's workers have leases"
        " instead",
    )
    lease: float = declare(
        parsers.positive_duration,
        3.0,
        "Seconds without a renewed lease after which a host counts as lost and its work goes to other hosts",
    )
    socket_timeout: float = declare(
        parsers.positive_duration, 5.0, "Seconds to wait for a response of the broker before it counts as unreachable"
    )
    broker_transport_options: Mapping[str, Any] | None = declare(
        parsers.table,
        None,
        "Transport options that are passed to kombu unchanged and win over mlq's own",
        secret=True,
    )
    aliases: Mapping[str, str] | None = declare(
        parsers.aliases, None, 'Other task names that the model serves: {"their.predict" = "mlq.predict"}'
    )
    controls: Controls = declare(
        parsers.one_of("inspect", "all", "none"),
        "inspect",
        "Control messages of Celery that workers obey: inspect (queries, revokes and rate limits), all or none",
    )
    state_dir: Path | None = declare(
        parsers.path,
        None,
        "Directory for sockets, logs and the data of the embedded broker",
        unset="$XDG_STATE_HOME/mlq",
    )
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Dotted key → the place that its value came from."""
    overridden: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """Key of a URL → the places whose URL is overridden, the weakest first."""

    def __repr__(self) -> str:
        set_values = {s.dotted: shown(s, self.get(s.dotted)) for s in SETTINGS if self.origin(s.dotted) != DEFAULT}
        return f"Settings({set_values})"

    @property
    def urgent_queue(self) -> str:
        """The first queue, to which single rows go."""
        return self.queues[0]

    @property
    def default_queue(self) -> str:
        """The second queue, or the only one, to which tasks go that name no queue."""
        return self.queues[min(1, len(self.queues) - 1)]

    @property
    def batch_queue(self) -> str:
        """The last queue, to which the rows of files go."""
        return self.queues[-1]

    @property
    def served_queues(self) -> tuple[str, ...]:
        """The queues that a worker serves, most urgent first.

        A worker that serves the default queue also serves, last, the queue to which a bare Celery client publishes.
        """
        served = self.worker.queues or self.queues
        return (*served, BARE_QUEUE) if self.default_queue in served else served

    @property
    def known_queues(self) -> tuple[str, ...]:
        """Every queue that the configuration names, those of `queues` first, in their order."""
        return tuple(dict.fromkeys((*self.queues, *(self.worker.queues or ()), *(self.queue or ()), BARE_QUEUE)))

    def queue_arguments(self, name: str) -> Mapping[str, Any]:
        """Return the arguments with which RabbitMQ declares a queue."""
        arguments: Mapping[str, Any] = (self.queue or {}).get(name, {}).get("arguments", {})
        return arguments

    def origin(self, dotted: str) -> str:
        """Return the place that decided the value of a key, in words for an error."""
        return self.origins.get(dotted, DEFAULT)

    def url_file(self, dotted: str) -> Path | None:
        """Return the file that a URL was read from, None if the URL was given directly."""
        found: Path | None = self.get(file_key(dotted))
        return found

    def get(self, dotted: str) -> Any:
        """Return the value of a dotted key, as a configuration file writes it."""
        value: Any = self
        for part in dotted.split("."):
            value = getattr(value, part)
        return value

    def replace(self, values: Mapping[str, tuple[Any, str]]) -> Settings:
        """Return a copy in which some keys have another value.

        Args:
            values: Dotted key → (value, origin). The value is used as it is, without parsing; None overrides nothing.
        """
        given = {key: v for key, v in values.items() if v[0] is not None}
        known = {s.dotted: (self.get(s.dotted), self.origin(s.dotted)) for s in SETTINGS}
        return dataclasses.replace(_build({**known, **given}), overridden=self.overridden)


def _schemas(cls: type, prefix: str = "") -> Iterator[Setting]:
    for f in fields(cls):
        if "parse" in f.metadata:
            yield _schema(f, prefix)
        elif f.name == "worker":
            yield from _schemas(WorkerSettings, "worker.")


def _schema(f: Field[Any], prefix: str) -> Setting:
    return Setting(dotted=prefix + f.name, default=f.default, **f.metadata)


SETTINGS: Final = tuple(_schemas(Settings))
"""The schema of every key, in the order in which `mlq config` shows them."""

_BY_KEY: Final = {s.dotted: s for s in SETTINGS}


def load(
    environ: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, tuple[Any, str]] | None = None,
    config: Path | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read the settings from every source; flags win over the environment, which wins over files and defaults.

    A worker reads no files: it takes every value from its supervisor, through the environment. So a file that changes
    between the start of the supervisor and the start of the worker has no effect on the worker.

    Args:
        environ: The environment; by default, that of this process.
        flags: Dotted key → (value, name of the flag). A value of None means that the flag was not given.
        config: The file of --config, which is then the only one that is read.
        cwd: Where the search for a configuration file begins; by default, the working directory.

    Raises:
        BadConfigFile, UntrustedConfig, UnknownSetting, InvalidSetting, UrlGivenTwice, UnusableUrlFile,
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
        quoted = _quotable(shown(setting, value))
        raise InvalidSetting(key=setting.dotted, value=quoted, origin=origin, reason=exc) from None


def _quotable(value: Any) -> Any:
    """Return the value, or a description of it if Python cannot write it: TOML allows integers of any length."""
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
    origins = _supervisor_origins(environ)
    found: Found = {}
    for setting in SETTINGS:
        names = setting.variables
        if environ.get(f"{names[0]}_FILE") and setting.dotted in URLS:
            names = names[:1]  # both of mlq's own variables win over those of other tools
        name = next((v for v in names if environ.get(v)), None)
        if name is not None:
            origin = origins.get(setting.dotted, name)
            found[setting.dotted] = (_parse(setting, environ[name], origin), origin)
    return found


def _supervisor_origins(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Read the origins that a supervisor wrote into the environment; a text that is not the JSON of one has none."""
    try:
        origins = json.loads(environ.get(ORIGINS) or "{}")
    except (ValueError, RecursionError):
        return {}
    return {k: o for k, o in origins.items() if isinstance(o, str)} if isinstance(origins, dict) else {}


def to_environment(settings: Settings) -> dict[str, str]:
    """Write settings as environment variables, in which a supervisor passes them to its workers.

    Passwords must not appear in argv, where every user of the host can read them. The origins are passed too, so that
    an error of the worker still names the flag or file that the operator used. Of a URL in a file only the path is
    passed: a worker that starts later reads the content at that time.
    """
    in_files = {key for key in URLS if settings.url_file(key) is not None}
    changed = [s for s in SETTINGS if settings.origin(s.dotted) != DEFAULT and s.dotted not in in_files]
    values = {s.variables[0]: _written(settings.get(s.dotted)) for s in changed}
    for key in URLS:  # a worker inherits its supervisor's environment, in which a variable may name another URL
        url, file = (_BY_KEY[k].variables[0] for k in (key, file_key(key)))
        if url in values or file in values:
            values = {url: "", file: "", **values}
    return {**values, ORIGINS: json.dumps({s.dotted: settings.origin(s.dotted) for s in changed})}


def _written(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _working_directory() -> Path | None:
    """Return the working directory, None if it has been removed."""
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
            value = str(path.parent.absolute() / value)  # noqa: PLW2901 (relative to the file that names it)
        found[key] = (_resolve_model(path, _parse(setting, value, str(path)), key), str(path))
    return found


def _resolve_model(path: Path, value: Any, key: str) -> Any:
    """Resolve the path of a model against the configuration file that names it, if there is such a file."""
    if key != "worker.model":
        return value
    beside = path.parent / value.partition(":")[0]
    return str(path.parent / value) if _exists(beside) else value


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the name may be too long, or hold a NUL
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
    """Return a setting's value without passwords, as it may be printed."""
    return without_passwords(value) if setting.secret else value


def state_directory(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory for this user's sockets, logs and embedded broker, which may not exist yet.

    Raises:
        NoStateDirectory: The user has no home.
        UntrustedState: Another user could change the files there, such as the one that names the broker's program.
    """
    state = settings.state_dir or _default_state(os.environ if environ is None else environ)
    try:
        why = doubt(state, state.stat())
    except (OSError, ValueError):  # it does not exist yet, or cannot: making it raises the error
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
    """Create the state directory with mode 0700 if it does not exist, and check that this user may write to it.

    Raises NoStateDirectory, UntrustedState, StateDirectoryUnusable.
    """
    state = state_directory(settings)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        raise StateDirectoryUnusable(path=state, reason=getattr(exc, "strerror", None) or exc) from None
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirectoryUnusable(path=state, reason="this user may not write there")
    return state_directory(settings)  # again: in a directory like /tmp another user may have created it first
