"""Replies to Celery's inspect commands: what tells of connections and settings is sent without passwords.

A client that may publish control messages may read their replies. Celery masks the broker's URL there; not the password
in the path of a socket, in Sentinel's options or in the second address of a result backend.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from celery.utils.saferepr import saferepr as safe_repr
from celery.utils.serialization import jsonify
from celery.worker.control import Panel

from mlq.security.masking import without_passwords

_TELLING: Final = ("stats", "conf", "dump_conf", "report")

Handler = Callable[..., Any]


def mask() -> None:
    """Mask the replies of this process from now on."""
    Panel.data.update({name: _masked(Panel.data[name]) for name in _TELLING if name in Panel.data})


def _masked(handler: Handler) -> Handler:
    @wraps(handler)
    def answer(*args: Any, **kwargs: Any) -> Any:
        told = handler(*args, **kwargs)
        return without_passwords(jsonify(told, unknown_type_filter=safe_repr))

    return answer
