"""Messages that any client can publish to Celery's control mailbox."""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Producer
from redis import Redis


def frame(said: Any, *, headers: Any = None, properties: Any = None, **fields: Any) -> bytes:
    """Return a control message as kombu writes it on Redis; each part may be replaced."""
    body = base64.b64encode(said if isinstance(said, bytes) else json.dumps(said).encode()).decode()
    written = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"clock": 1, "expires": 0} if headers is None else headers,
        "properties": {"body_encoding": "base64", "delivery_tag": str(uuid.uuid4()), "delivery_info": {}}
        if properties is None
        else properties,
    }
    return json.dumps({**written, **fields}).encode()


def command(method: Any, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Return the body of a control message."""
    return {"method": method, "arguments": arguments or {}, "destination": None, **fields}


@dataclass
class Stranger:
    """A client that publishes to the mailbox without Celery's own interface."""

    url: str

    def tell(self, *bodies: dict[str, Any]) -> None:
        """Publish bodies as Celery does."""
        with Connection(self.url) as connection:
            channel: Any = connection.channel()
            producer = Producer(channel, Exchange("celery.pidbox", type="fanout", durable=False), serializer="json")
            for body in bodies:
                producer.publish(body, headers={"clock": 1})

    def compressed(self, body: dict[str, Any], zeros: int) -> None:
        """Publish a body that grows by this number of bytes when it is decompressed."""
        content = zlib.compress(json.dumps({**body, "padding": ""}).encode()[:-2] + b"0" * zeros + b'"}', 9)
        with Connection(self.url) as connection:
            channel: Any = connection.channel()
            producer = Producer(channel, Exchange("celery.pidbox", type="fanout", durable=False))
            producer.publish(
                content,
                content_type="application/json",
                content_encoding="utf-8",
                headers={"compression": "application/x-gzip"},
            )

    def publish(self, *frames: bytes) -> None:
        """Publish bytes to the Redis channel of the mailbox."""
        with Redis(unix_socket_path=self.url.removeprefix("redis+socket://"), socket_timeout=10) as redis:
            for each in frames:
                redis.publish("/0.celery.pidbox", each)


def answers(client: Celery, method: str, arguments: dict[str, Any] | None = None, timeout: float = 1.0) -> list[Any]:
    """Send a control message to all workers, and return their replies."""
    replies = client.control.broadcast(method, arguments or {}, reply=True, timeout=timeout) or []
    return [said for reply in replies for said in reply.values()]
