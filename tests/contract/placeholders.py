"""Placeholders: values that differ from run to run are replaced by the kind of value that they are."""

from __future__ import annotations

import re
import socket
from typing import Final

_HOST: Final = rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w-])"
_JSON_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"

_KINDS: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in [
        # A stack names files and lines of the code, which change.
        (r'("traceback": ?)"(?:[^"\\]|\\.)+"', r'\1"<traceback>"'),
        # The text about a refused message is prose that follows the word for the reason.
        (r'("exc_message": ?\["unknown-task: )[^"]*"', r'\1<prose>"'),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(?=\+00:00)", "<date and time>.<microseconds>"),
        (r'("mlq_job_token": ?)"[0-9a-f]{32}"', r'\1"<32 hexadecimal digits>"'),
        (rf"{_HOST}:(\w+):[0-9a-f]{{8}}\b", r"<host>:\1:<8 hexadecimal digits>"),
        (rf"\bgen\d+@{_HOST}", "gen<process id>@<host>"),
        (rf"{_HOST}\.\d+\.mlq", "<host>.<process id>.mlq"),
        (_HOST, "<host>"),
        (rf'("seconds": ?){_JSON_NUMBER}', r"\1<seconds>"),
        (r"\b\d{13}-\d+\b", "<entry of a stream>"),
        (r"\b\d{13}(?:\.0)?\b", "<milliseconds since 1970>"),
        (r"\b\d{10}\.\d+\b", "<seconds since 1970>"),
    ]
)

_NAMES: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in [
        (r"(?<=^mlq:job:)[^:]+", "<job>"),
        (r"(?<=:sender:)\w+$", "<16 hexadecimal digits>"),
        (r"\bjob-[a-z]+\b(?:\.\d+)?|^[0-9a-f]{12}$", "<job>"),
        (r"\btask-(?!meta)[a-z]+\b", "<task>"),
        (r"^[0-9a-f]{40}$", "<40 hexadecimal digits>"),
        (r"(?<![\w.-])\d+-\d+(?![\w.-])", "<number>-<number>"),
    ]
)


def replace_volatile(text: str) -> str:
    """Replace times, identifiers, process ids and the host's name; everything else stays as it is."""
    for pattern, kind in _KINDS:
        text = pattern.sub(kind, text)
    return text


def replace_names(text: str) -> str:
    """Also replace the names of jobs, tasks and claims, if only their place matters."""
    text = replace_volatile(text)
    for pattern, kind in _NAMES:
        text = pattern.sub(kind, text)
    return text


def pieces(text: str) -> list[str]:
    """Replace volatile parts of a JSON text, and cut it before its keys; joined, the pieces are the text."""
    return re.split(r'(?<=,)(?= ?"[\w.-]+": ?)|(?<=\n)', replace_volatile(text))
