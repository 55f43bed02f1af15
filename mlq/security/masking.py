"""Masking: no password in anything that a process of mlq shows, logs, records or raises.

Two rules work together. Patterns find passwords by their place: behind the user of a URL, behind `password=`, in a
table. And the passwords that this process was configured with are known (`remember`): they are found in any text,
however a library quotes them. `masked` applies both; errors, logs and stderr all go through it.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any, Final, TextIO, cast

_HIDDEN: Final = "***"

_NEXT_URL: Final = r";\w[\w+.-]*://"
_IN_WORDS: Final = r"[^\s\"'<>]"
"""What a URL in a sentence is made of."""

_EXAMPLE: Final = r"(?!(?:password|\*+|…)(?:@|[\"'&;\s]|$))"
"""The word that hints have in the place of a password, and what was masked before."""

_KEYS: Final = r"passwords?|passwd|passphrase|secret|secret[_-]?key|secret[_-]?access[_-]?key|account[_-]?key"
_SECRET_KEY: Final = re.compile(r"passw|passphrase|secret|token|credential|(account|access|api)_?-?key", re.IGNORECASE)

_WHOLE_URL: Final = re.compile(r"\w[\w+.-]*://")
_MAY_HOLD_ONE: Final = re.compile(rf"://|{_KEYS}", re.IGNORECASE)

_LONGEST: Final = 256
"""Characters of a password that is found by its place in a sentence: a stranger's text must not take long to search."""


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Find what stands for a password: group 1 before it, group 2 the password. Compiled by the first that needs it."""
    return (
        # user:PASSWORD@ of each address, up to the last @ of the word.
        re.compile(
            rf"(?<=://)([^\s:@\"'<>/]*:){_EXAMPLE}((?:(?!{_NEXT_URL}){_IN_WORDS}){{1,{_LONGEST}}}?)"
            rf"(?=@(?:(?!@){_IN_WORDS})*(?:{_NEXT_URL}|[\s\"'<>]|\Z))"
        ),
        # "password": "PASSWORD", 'password': 'PASSWORD', and both once more in quotes.
        re.compile(rf"""((?:{_KEYS})\\*["']\s*:\s*b?\\*"){_EXAMPLE}((?:\\.|[^"\\])+)""", re.IGNORECASE),
        re.compile(rf"""((?:{_KEYS})\\*["']\s*:\s*b?\\*'){_EXAMPLE}((?:\\.|[^'\\])+)""", re.IGNORECASE),
        # password=PASSWORD in the query of a URL and among the arguments of a call; a number in a table.
        re.compile(rf"""((?:{_KEYS})=b?["']?){_EXAMPLE}([^\s&;,"')\]}}]+)""", re.IGNORECASE),
        re.compile(rf"""((?:{_KEYS})\\*["']\s*:\s*)(\d[^\s,}}]*)""", re.IGNORECASE),
    )


@cache
def _whole() -> re.Pattern[str]:
    """Find the passwords of a text that is a URL and nothing else, whatever characters they are made of.

    A URL is wrong where a character of its password was not escaped, and must not show it in the error that says so.
    """
    return re.compile(
        rf"(?<=://)([^:@]*:){_EXAMPLE}((?:(?!{_NEXT_URL}).){{1,4096}}?)(?=@[^@]*(?:{_NEXT_URL}|\Z))", re.DOTALL
    )


@cache
def _without_host() -> re.Pattern[str]:
    """Find the password of a URL whose host was forgotten, redis://user:PASSWORD/0: it stands where a port would."""
    return re.compile(r"(?<=://)([^:@/?#;\s\[]*:)(?!\d+(?:[/?#;\s]|\Z)|\*)([^@/?#;\s]+)(?=[/?#;\s]|\Z)")


_SHORTEST: Final = 6
_SHORT: Final = 8
_SHORTEST_WORD: Final = 12


class _Known:
    """The passwords of this process. One pattern, replaced as a whole: threads read it without a lock."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self.pattern: re.Pattern[str] | None = None

    def add(self, secrets: set[str]) -> None:
        if secrets <= self._secrets:
            return
        self._secrets |= secrets
        forms = {form for secret in self._secrets for form in _written_forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self.pattern = re.compile("|".join(_bounded(form) for form in longest_first))


_KNOWN: Final = _Known()


def masked(text: str) -> str:
    """Show a text without passwords: `redis://:secret@host/0` becomes `redis://:***@host/0`."""
    if _KNOWN.pattern is not None:
        text = _KNOWN.pattern.sub(_HIDDEN, text)
    if _MAY_HOLD_ONE.search(text) is None:
        return text
    if _WHOLE_URL.match(text):
        text = _without_host().sub(rf"\1{_HIDDEN}", _whole().sub(rf"\1{_HIDDEN}", text))
    for pattern in _patterns():
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return text


def without_passwords(value: Any) -> Any:
    """Mask every text in a value, and each value whose key names a secret."""
    if isinstance(value, dict):
        return {k: _HIDDEN if _SECRET_KEY.search(str(k)) else without_passwords(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(v) for v in value]
    return masked(value) if isinstance(value, str) else value


def remember(value: Any) -> None:
    """Learn the passwords in the value of a setting, a URL or a table, so that `masked` finds them anywhere.

    What could be a word of a sentence is not learned: masked everywhere, it would garble what is said and give itself
    away by the gap. In its URL or table it is masked all the same.
    """
    _KNOWN.add({secret for secret in _secrets_in(value) if _is_distinctive(secret)})


def _secrets_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        named = {str(v) for k, v in value.items() if _SECRET_KEY.search(str(k)) and isinstance(v, (str, int))}
        return named.union(*(_secrets_in(v) for v in value.values()))
    if not isinstance(value, str):
        return set()
    from urllib.parse import unquote

    found = [m[2] for pattern in (_whole(), *_patterns()) for m in pattern.finditer(value)]
    return {form for secret in found for form in (secret, unquote(secret))}


def _is_distinctive(secret: str) -> bool:
    is_word = secret.isalpha() and secret in {secret.lower(), secret.capitalize()}
    return len(secret) >= (_SHORTEST_WORD if is_word else _SHORTEST)


def _written_forms(secret: str) -> set[str]:
    """Give a password as it stands in a text, a URL, a table and a quoted string."""
    import json
    from urllib.parse import quote, quote_plus

    in_url = {how(secret, errors="surrogatepass") for how in (quote, quote_plus)}
    in_url.add(quote(secret, safe="", errors="surrogatepass"))
    in_json = {json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    in_bytes = repr(secret.encode(errors="surrogatepass"))[2:-1]
    return {secret, *in_url, *in_json, repr(secret)[1:-1], in_bytes}


def _bounded(secret: str) -> str:
    """Find a short password as a word of its own, a long one inside other words, too."""
    found = re.escape(secret)
    if len(secret) >= _SHORT:
        return found
    begin = r"(?<!\w)" if re.match(r"\w", secret) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", secret) else ""
    return begin + found + end


class MaskedStream:
    """A stream of text, but what is written to it is masked: the last place where a library's words can be changed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; logging, warnings and tracebacks write whole lines at once."""
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_stderr() -> None:
    """Mask what this process writes to stderr from now on, whichever library writes it."""
    if sys.stderr is not None and not isinstance(sys.stderr, MaskedStream):
        sys.stderr = cast("TextIO", MaskedStream(sys.stderr))
