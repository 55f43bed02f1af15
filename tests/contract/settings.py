"""Settings: every key of mlq.toml with its default, and the effect of a value in a file and in the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.conftest import User

_SAMPLES: Final[dict[str, tuple[str, str]]] = {
    "broker_url": ("redis://broker.example:6379/0", '"redis://broker.example:6379/0"'),
    "result_backend": ("redis://results.example:6379/1", '"redis://results.example:6379/1"'),
    "state_url": ("redis://state.example:6379/2", '"redis://state.example:6379/2"'),
    "queues": ("urgent,rest", '["urgent", "rest"]'),
    "queue": ('{"rest": {"arguments": {"x-max-priority": 10}}}', '{rest = {arguments = {"x-max-priority" = 10}}}'),
    "priority_order": ("stock", '"stock"'),
    "result_expires": ("60", "60"),
    "visibility_timeout": ("90.5", "90.5"),
    "lease": ("4.5", "4.5"),
    "socket_timeout": ("6", "6"),
    "broker_transport_options": ('{"health_check_interval": 9}', "{health_check_interval = 9}"),
    "aliases": ('{"their.predict": "mlq.predict"}', '{"their.predict" = "mlq.predict"}'),
    "controls": ("none", '"none"'),
    "state_dir": ("state", '"state"'),
    "worker.model": ("serve.py:Model", '"serve.py:Model"'),
    "worker.output": ("classify", '"classify"'),
    "worker.queues": ("urgent", '["urgent"]'),
    "worker.shares": ('{"rest": 0.25}', "{rest = 0.25}"),
    "worker.imports": ("own_tasks", '["own_tasks"]'),
    "worker.max_batch_size": ("8", "8"),
    "worker.max_wait": ("0.5", "0.5"),
    "worker.time_limit": ("70", "70"),
    "worker.soft_time_limit": ("50", "50"),
    "worker.max_tasks": ("1000", "1000"),
    "worker.max_crashes": ("2", "2"),
    "worker.max_memory": ("4GiB", '"4GiB"'),
    "worker.min_time_limit": ("2", "2"),
    "worker.message_time_limits": ("ignore", '"ignore"'),
    "worker.error_texts": ("withhold", '"withhold"'),
    "worker.drain_timeout": ("15", "15"),
}
"""A value for each setting, in the form of an environment variable and in the form of a file."""

_URLS: Final = ("broker_url", "result_backend", "state_url")
_URL_FILES: Final = tuple(f"{name}_file" for name in _URLS)


def read(user: User) -> dict[str, Any]:
    """Read every setting with `mlq config`: the default, and the value of each source."""
    user.write("url", "redis://file.example:6379/3\n")
    (user.directory / "url").chmod(0o600)
    environment = {_variable(key): value for key, (value, _) in _SAMPLES.items()}
    file = "".join(f"{key} = {value}\n" for key, (_, value) in _SAMPLES.items())
    files = "".join(f'{key} = "url"\n' for key in _URL_FILES)
    sources = {
        "environment": _values(user, environment),
        "CELERY_BROKER_URL": _values(user, {"CELERY_BROKER_URL": "redis://celery.example:6379/4"}),
        "environment, URLs in files": _values(user, {_variable(key): "url" for key in _URL_FILES}),
        "mlq.toml": _values(user, {}, file),
        "mlq.toml, URLs in files": _values(user, {}, files),
    }
    defaults = _values(user, {})
    return {
        key: {
            "default": default,
            **{source: found[key] for source, found in sources.items() if found[key] != default},
        }
        for key, default in defaults.items()
    }


def _variable(key: str) -> str:
    return "MLQ_" + key.replace(".", "_").upper()


def _values(user: User, environment: Mapping[str, str], file: str = "") -> dict[str, Any]:
    """Return the value of every setting under these circumstances."""
    path = user.write("mlq.toml", file)
    asking = User(user.directory, {**user.environment, **environment}, user.mlq)
    done = asking.run("config", "--json")
    path.unlink()
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace(f"{user.directory}/", "<directory>/")
    return {setting["key"]: setting["value"] for setting in json.loads(shown)["settings"]}
