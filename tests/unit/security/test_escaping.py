"""The escaping of clients' texts, which cannot control a terminal or forge a line of a log."""

from __future__ import annotations

import io
import logging

import pytest

from mlq.security.escaping import OneLineFormatter, escaped

FORGED = [
    "a\nERROR forged",
    "a\rERROR forged",
    "a\x1b[2K\x1b[1A",
    "a\u2028ERROR forged",
    "a\x85b",
    "a\u202eb",
    "a\udcff",
]


@pytest.mark.parametrize("text", FORGED)
def test_a_text_stays_on_its_line(text: str) -> None:
    """Programs that read logs split lines at other characters than a newline, too."""
    shown = escaped(text)
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    shown.encode()


def test_words_of_any_language_stay_as_they_are() -> None:
    """Only characters that move the cursor or hide text are escaped."""
    for text in ("plain", "naïve café", "日本語", "emoji 🎉", "a\u00a0b"):
        assert escaped(text) == text


@pytest.mark.parametrize("text", FORGED)
def test_neither_an_id_nor_an_exception_forges_a_record(text: str) -> None:
    """Celery logs ids unchanged, and tracebacks end with the text of the exception."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLineFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("forged")  # noqa: LOG001 (one that no other test shares)
    logger.addHandler(handler)
    logger.error("Task mlq.predict[%s] raised", text, exc_info=ValueError(text))
    first, *rest = stream.getvalue().splitlines()
    assert first.startswith("ERROR Task mlq.predict[a")
    assert all(line.startswith("  ") for line in rest)
