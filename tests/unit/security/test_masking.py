"""The masking of passwords, found by their position or because this process knows them."""

from __future__ import annotations

import io
import logging
import sys
import traceback

import pytest

from mlq.broker.connection import Address
from mlq.errors import InternalError
from mlq.security import masking
from mlq.security.masking import masked, remember, without_passwords
from mlq.settings.config import load

CANARY = "c4n4ry"


@pytest.fixture(autouse=True)
def _forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the passwords of one test before the next."""
    monkeypatch.setattr(masking, "_KNOWN", masking._Known())


@pytest.mark.parametrize(
    "text",
    [
        f"redis://:{CANARY}@host/0",
        f"cannot reach redis://user:{CANARY}@host:1/0 (from 'x'), ask ops@example.org",
        f"redis://host:1/0;redis://:{CANARY}@other:2/0",
        f"sentinel://:{CANARY}@a:1;sentinel://:{CANARY}@b:2",
        f"('amqps://u:%23{CANARY}%2F@host//',)",
        f"redis://:a b'{CANARY}@host",
        f"redis://:a@{CANARY}@host",
        f"db+postgresql://u:{CANARY}@host/db",
        f"azureblockblob://DefaultEndpointsProtocol=https;AccountName=x;AccountKey={CANARY};EndpointSuffix=y",
        f"redis://host:1/0?password={CANARY}&db=1",
        f"{{'master_name': 'm', 'sentinel_kwargs': {{'password': '{CANARY}'}}}}",
        f"{{'password': b'{CANARY}'}}",
        f'{{"password": "a&;,}} {CANARY}"}}',
        f'"{{\\"password\\": \\"{CANARY}\\"}}"',
        f"Connection(host='h', password='{CANARY}', db=0)",
    ],
)
def test_a_password_is_found_by_its_position(text: str) -> None:
    """Passwords are masked in URLs, alone and in sentences, and in every notation of a table."""
    assert CANARY not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://user@host:6379/0",
        "connected to redis://127.0.0.1:6379/0 as cpu0@host",
        "redis://a:6379/0;redis://b:6379/0",
        "put user and password into MLQ_BROKER_URL: redis://user:password@host:6379/0",
        'its own password goes into {"sentinel_kwargs": {"password": "…"}}',
        "invalid username-password pair or user is disabled.",
    ],
)
def test_a_text_without_a_password_is_unchanged(text: str) -> None:
    """Users, hosts and hints stay readable."""
    assert masked(text) == text


@pytest.mark.parametrize("password", [f"{CANARY}-9", f'#{CANARY}/"\\é', "correcthorsebattery"])
def test_a_password_of_this_process_is_found_in_any_text(password: str) -> None:
    """Libraries quote passwords in different forms."""
    remember({"sentinel_kwargs": {"password": password}})
    for text in (f"AUTH {password}", repr(["AUTH", password]), repr(f"\0guest\0{password}".encode())):
        assert CANARY not in masked(text)
        assert "horse" not in masked(text)


@pytest.mark.parametrize("password", ["worker", "guest", "e", "model7", "7"])
def test_a_password_that_could_be_a_word_is_not_masked_in_sentences(password: str) -> None:
    """The gaps would reveal the password."""
    remember(f"redis://:{password}@host/0")
    assert masked("worker cpu0 of guests has model70 for 7 s") == "worker cpu0 of guests has model70 for 7 s"
    assert masked(f"broker redis://:{password}@host/0") == "broker redis://:***@host/0"


def test_what_is_raised_shown_and_logged_is_masked() -> None:
    """No password appears in an error, an address, the settings, a table, a traceback or a log record."""
    url = f"redis://:{CANARY}@host/0"
    settings = load({"MLQ_BROKER_URL": url}, cwd=None)
    assert CANARY not in str(InternalError(kind="ValueError", reason=f"bad port {CANARY}"))
    assert CANARY not in repr(Address(url, "MLQ_BROKER_URL")) + repr(settings)
    assert CANARY not in repr(without_passwords({"a": [url, {"account_key": CANARY}], 7: (url,)}))
    written = io.StringIO()
    stream = masking.MaskedStream(written)
    logging.StreamHandler(stream).handle(logging.makeLogRecord({"msg": "cannot AUTH %s", "args": (CANARY,)}))
    try:
        int(CANARY)
    except ValueError:
        traceback.print_exc(file=stream)
    assert written.getvalue().count("***") == 2, written.getvalue()
    assert CANARY not in written.getvalue()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["://a:@", "://a:", '"password": "', "password", "x@", "redis://a:b@"])
def test_the_search_time_grows_linearly_with_the_text(part: str) -> None:
    """Clients choose texts that are logged, so a search must not take time that grows with the square of the length."""
    masked(f"INFO {part * (2**17 // len(part))}")


def test_stderr_is_guarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command runs code of workers, and both call guard_stderr; the second call has no effect."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    masking.guard_stderr()
    first = sys.stderr
    masking.guard_stderr()
    assert sys.stderr is first
