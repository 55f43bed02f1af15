"""URLs of servers: every option is used or refused by name, and every notation of an address has one normal form."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from mlq.settings import server_url


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("redis://host", "redis://host/0"),
        ("redis://host/", "redis://host/0"),
        ("redis://host/0/", "redis://host/0"),
        ("redis://host//3", "redis://host/3"),
        ("redis://host?db=3", "redis://host/3"),
        ("redis://host/3?virtual_host=3", "redis://host/3"),
        ("redis:///5", "redis:///5"),
        ("redis://user:p%40ss%2F@[::1]:6380/1", "redis://user:p%40ss%2F@[::1]:6380/1"),
        ("redis+socket:///run/a b%25.sock", "redis+socket:///run/a b%25.sock"),
        ("redis+socket://:pw@/run/x.sock?virtual_host=2", "redis+socket://:pw@/run/x.sock?virtual_host=2"),
        ("redis+socket:///run/x.sock?db=2&socket_timeout=3", "redis+socket:///run/x.sock?virtual_host=2"),
        ("sentinel://a:1;sentinel://b:2/0", "sentinel://a:1/0;sentinel://b:2/0"),
    ],
)
def test_a_url_has_one_form_without_its_options(url: str, bare: str) -> None:
    """Kombu and Celery read the notations differently, and mlq compares URLs to detect that two stores are one."""
    assert server_url.read(url).url == bare
    assert server_url.read(bare).url == bare


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("redis://user:p%40ss@host:1/7?socket_timeout=3", "redis://user:p%40ss@host:1/0"),
        ("redis+socket://:pw@/run/x.sock?virtual_host=2", "redis+socket://:pw@/run/x.sock"),
        ("redis://a:1/2;redis://b:1/2", "redis://a:1/0;redis://b:1/0"),
    ],
)
def test_database_0_is_named_for_each_address(url: str, first: str) -> None:
    """The servers and the user stay the same."""
    assert server_url.in_database_0(url) == first


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("health_check_interval=5", {"health_check_interval": 5}),
        ("health_check_interval=0", {"health_check_interval": 0}),
        ("socket_timeout=0.5&socket_connect_timeout=1", {"socket_timeout": 0.5, "socket_connect_timeout": 1}),
        ("socket_keepalive=no&retry_on_timeout=True", {"socket_keepalive": False, "retry_on_timeout": True}),
        ("max_connections=20&client_name=loader", {"max_connections": 20, "client_name": "loader"}),
    ],
)
def test_what_redis_py_takes_in_a_url_is_used(query: str, options: dict[str, Any]) -> None:
    """Values are numbers and booleans, not the texts that kombu would pass on."""
    assert server_url.read(f"redis://host/0?{query}").options == options


def test_options_of_tls_are_used(tmp_path: Path) -> None:
    """Without a check of the certificate the host name is not checked, either."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    assert server_url.read(f"rediss://h/0?ssl_ca_certs={authority}").tls == {"ssl_ca_certs": str(authority)}
    for word in ("none", "CERT_NONE"):
        tls = server_url.read(f"rediss://h/0?ssl_cert_reqs={word}").tls
        assert tls == {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://h/0?family=0", "?family is not known"),
        ("redis://h/0?protocol=3", "?protocol is not known"),
        ("redis://h/0?username=a", "?username is not known"),
        ("redis://h/0?socket_timeout=1&socket_timeout=2", "?socket_timeout stands there twice"),
        ("redis://h?db=1&virtual_host=1", "?virtual_host stands there twice"),
        ("redis://h/0?socket_timeout=", "?socket_timeout has a value that is no number"),
        ("redis://h/0?socket_timeout=nan", "?socket_timeout has a value that is no number"),
        ("redis://h/0?max_connections=1", "?max_connections has a value that is no whole number from 10"),
        ("redis://h/0?health_check_interval=soon", "?health_check_interval has a value"),
        ("redis://h/0?socket_keepalive=maybe", "neither true nor false"),
        ("redis://h/0?client_name=a%20b", "has a space in it"),
        ("redis://h/1?db=2", "it names two databases"),
        ("redis://h/0?ssl_cert_reqs=required", "for rediss:// and amqps:// only"),
        ("rediss://h/0?ssl_cert_reqs=sometimes", "not required, optional or none"),
        ("rediss://h/0?ssl_ca_certs=/no/such/file", "no file which can be read"),
        ("rediss://h/0?ssl_ca_path=/no/such/directory", "no directory"),
        ("rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=true", "no host name can be checked"),
        ("redis://h/abc", "whole number from 0"),
        ("redis://h/-1", "whole number from 0"),
        ("redis://h/0/1", "whole number from 0"),
        ("redis://h/%D9%A3", "whole number from 0"),
        ("redis://h/99999999999999999999", "whole number from 0"),
        ("redis://h/0#x", "expected user:password@host:port"),
        ("redis://h:port/0", "expected user:password@host:port"),
        ("redis://::1/0", "expected user:password@host:port"),
        ("redis://h/0?password=secret", "the password before the host"),
        ("redis://a..b/0", "not a name that can be looked up"),
        ("redis://" + "a" * 64 + "/0", "not a name that can be looked up"),
        ("redis://a%00b/0", "not a name that can be looked up"),
        ("redis://a%20b/0", "not a name that can be looked up"),
        ("redis://h/0\n", "no control characters"),
        ("redis://:\udcff@h/0", "not UTF-8"),
        ("redis+socket://", "three slashes"),
        ("redis+socket:///", "three slashes"),
        ("redis+socket://run/redis.sock", "three slashes"),
        ("redis+socket:///run/a%00.sock", "NUL"),
        ("sentinel://a:1/1;sentinel://b:2/2", "different databases"),
        ("sentinel://a:1?socket_timeout=1;sentinel://b:2?socket_timeout=2", "different options"),
        ("sentinel://a:1;b:2", "different kinds"),
        ("sentinel://a:1;", "different kinds"),
        ("amqp://h/?heartbeat=5", "takes no options"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(url: str, why: str) -> None:
    """Kombu and redis-py would raise a TypeError in their own code, or look up another server."""
    with pytest.raises(ValueError, match=why.replace("?", r"\?")) as raised:
        server_url.read(url)
    assert "secret" not in str(raised.value)
