"""The masking of passwords in everything that a process of mlq prints, logs, records or raises.

Two rules work together. Patterns find passwords by their position: after the user in a URL, after `password=`, in a
table. And the passwords in this process's settings are known (`remember`): they are found in any text, in every form
in which a library may quote them. `masked` applies both rules; errors, logs and stderr all pass through it.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any, Final, TextIO, cast

_HIDDEN: Final = "***"

_NEXT_URL: Final = r";\w[\w+.-]*://"
_IN_WORDS: Final = r"[^\s\"'<>]"
"""A character of a URL in a sentence."""

_EXAMPLE: Final = r"(?!(?:password|\*+|…)(?:@|[\"'&;\s]|$))"
"""Excludes the word "password", which hints have in place of a password, and a password that is already masked."""

_KEYS: Final = r"passwords?|passwd|passphrase|secret|secret[_-]?key|secret[_-]?access[_-]?key|account[_-]?key"
_SECRET_KEY: Final = re.compile(r"passw|passphrase|secret|token|credential|(account|access|api)_?-?key", re.IGNORECASE)

_WHOLE_URL: Final = re.compile(r"\w[\w+.-]*://")
_MAY_HOLD_ONE: Final = re.compile(rf"://|{_KEYS}", re.IGNORECASE)

_LONGEST: Final = 256
"""Characters of a password that a pattern finds in a sentence, at most: the search in a client's text must be fast."""


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of passwords in a text: group 1 is the text before the password, group 2 the password.

    They are compiled on first use, because that takes time and most commands need none.
    """
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
    """Return the pattern of passwords, with any characters, in a text that is nothing but a URL.

    A URL is invalid if a character of its password is not escaped, and the error on it must not show the password.
    """
    return re.compile(
        rf"(?<=://)([^:@]*:){_EXAMPLE}((?:(?!{_NEXT_URL}).){{1,4096}}?)(?=@[^@]*(?:{_NEXT_URL}|\Z))", re.DOTALL
    )


@cache
def _without_host() -> re.Pattern[str]:
    """Return the pattern of a password in place of the port, in a URL without a host: redis://user:PASSWORD/0."""
    return re.compile(r"(?<=://)([^:@/?#;\s\[]*:)(?!\d+(?:[/?#;\s]|\Z)|\*)([^@/?#;\s]+)(?=[/?#;\s]|\Z)")


_SHORTEST: Final = 6
_SHORT: Final = 8
_SHORTEST_WORD: Final = 12


class _Known:
    """The known passwords of this process, as one pattern, which is replaced as a whole: threads need no lock."""

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
    """Return a text without passwords: `redis://:secret@host/0` becomes `redis://:***@host/0`."""
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
    """Return a value with every text masked, and every value whose key names a secret replaced."""
    if isinstance(value, dict):
        return {k: _HIDDEN if _SECRET_KEY.search(str(k)) else without_passwords(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(v) for v in value]
    return masked(value) if isinstance(value, str) else value


def remember(value: Any) -> None:
    """Remember the passwords in the value of a setting, a URL or a table, so that `masked` finds them in any text.

    A password that could be a word of a sentence is not remembered: masking the word everywhere would make texts
    unreadable and reveal the password by its gaps. In its URL or table such a password is masked all the same.
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
    """Return the forms of a password in a text, a URL, a JSON table and a quoted string."""
    import json
    from urllib.parse import quote, quote_plus

    in_url = {how(secret, errors="surrogatepass") for how in (quote, quote_plus)}
    in_url.add(quote(secret, safe="", errors="surrogatepass"))
    in_json = {json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    in_bytes = repr(secret.encode(errors="surrogatepass"))[2:-1]
    return {secret, *in_url, *in_json, repr(secret)[1:-1], in_bytes}


def _bounded(secret: str) -> str:
    """Return the pattern of a password: a short one matches as a whole word only, a long one inside words, too."""
    found = re.escape(secret)
    if len(secret) >= _SHORT:
        return found
    begin = r"(?<!\w)" if re.match(r"\w", secret) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", secret) else ""
    return begin + found + end


class MaskedStream:
    """A text stream that masks what is written to it, which covers the output of libraries."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a masked text. Logs, warnings and tracebacks write whole lines, so no password is split in two."""
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several masked texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_stderr() -> None:
    """Mask everything that this process and its libraries write to stderr from now on."""
    if sys.stderr is not None and not isinstance(sys.stderr, MaskedStream):
        sys.stderr = cast("TextIO", MaskedStream(sys.stderr))
