"""The TLS checks that a URL demands, and warnings about the checks that it turns off."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq.settings import server_url
from mlq.settings.url_sources import URLS

if TYPE_CHECKING:
    from mlq.settings.config import Settings

_REDIS: Final[Mapping[str, Any]] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
_AMQP_NAMES: Final = {
    "ssl_cert_reqs": "cert_reqs",
    "ssl_ca_certs": "ca_certs",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
}
_HOST: Final = "server_hostname"
"""py-amqp checks the host name of the certificate if it gets one. None stands for the host of each address."""


def options(url: str) -> dict[str, Any] | None:
    """Return the TLS arguments of redis-py or py-amqp for a URL; None for a URL without TLS.

    They demand a valid certificate for the right host, unless the URL turns a check off. By default kombu would accept
    any certificate from a Redis server, and from RabbitMQ a certificate for any other host.
    """
    scheme = url.partition("://")[0]
    if scheme not in server_url.SECURE:
        return None
    asked = {**_REDIS, **server_url.read(url).tls}
    if scheme == "rediss":
        return asked
    named = {ours: asked[name] for name, ours in _AMQP_NAMES.items() if name in asked}
    return {**named, _HOST: None} if asked["ssl_check_hostname"] else named


def of_address(transport: str | None, host: str | None, given: Any) -> Any:
    """Return kombu's `ssl` for one of the addresses between which a connection fails over.

    kombu uses the same value for all addresses, and without a value it checks no certificate. So for an address whose
    scheme demands TLS the checks are added, even if the scheme of the first address does not. Any other address keeps
    the given value: with Celery's `broker_use_ssl`, a redis:// address uses TLS, too.
    """
    if transport == "rediss":
        return given or dict(_REDIS)
    if transport == "amqps":
        demanded = given if isinstance(given, dict) else {"cert_reqs": ssl.CERT_REQUIRED, _HOST: None}
        return {**demanded, _HOST: host} if demanded.get(_HOST, "") is None else demanded
    return given


def warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning for each TLS check that is turned off."""
    for key in URLS:
        url = settings.get(key)
        if url is not None and url.partition("://")[0] in server_url.SECURE:
            yield from _of_url(key, url, settings.origin(key))
    asked = (settings.broker_transport_options or {}).get("sentinel_kwargs")
    if isinstance(asked, dict) and asked.get("ssl") and asked.get("ssl_cert_reqs", "required") in ("none", None):
        yield (
            "sentinel_kwargs turns the check of the Sentinels' certificates off: anyone on the network path can name"
            " another primary"
        )


def _of_url(key: str, url: str, origin: str) -> Iterator[str]:
    asked = server_url.read(url).tls
    hosts = ", ".join(urlsplit(address).hostname or "" for address in url.split(";"))
    if asked.get("ssl_cert_reqs") == ssl.CERT_NONE:
        yield (
            f"{key} (from {origin}) says ?ssl_cert_reqs=none, so the certificate of {hosts} is not checked: "
            "anyone on the way can read and change all messages, and learns the password"
        )
    elif asked.get("ssl_check_hostname") is False:
        yield (
            f"{key} (from {origin}) says ?ssl_check_hostname=false, so {hosts} may show the certificate of any "
            "other host: who has one from the same authority can read and change all messages"
        )
