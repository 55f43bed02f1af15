"""Durations and sizes: the spellings that every option, file and variable accepts, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from mlq.settings import config, parsers


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("300", 300), ("1.5", 1.5), (300, 300), (1.5, 1.5), ("500ms", 0.5), ("90s", 90), ("5m", 300), ("2h", 7200),
        ("1d", 86400), ("2w", 1209600), ("1.5h", 5400), (" 5 m ", 300), ("1e3", 1000),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_a_unit(given: Any, seconds: float) -> None:
    """A number without a unit is in seconds."""
    assert parsers.duration(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "5x", "-5m", "5m3s", "nan", "inf", "999999w", True, None, [], "5 min"])
def test_another_text_is_no_duration(given: Any) -> None:
    """The error shows what is accepted."""
    with pytest.raises(ValueError, match=r"such as 300, 90s, 5m, 2h or 1d"):
        parsers.duration(given)


@pytest.mark.parametrize("given", ["0", "0s", 0])
def test_a_limit_is_above_zero(given: Any) -> None:
    """A time limit of 0 would end every task at its start."""
    with pytest.raises(ValueError, match="above 0"):
        parsers.positive_duration(given)


@pytest.mark.parametrize("given", ["1.5", "500ms", "0"])
def test_a_count_of_seconds_is_whole(given: str) -> None:
    """Redis and Celery keep results for whole seconds."""
    with pytest.raises(ValueError, match="expected a duration"):
        parsers.whole_seconds(given)
    assert parsers.whole_seconds("1.5m") == 90


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("1048576", 2**20), (1048576, 2**20), ("512MiB", 2**29), ("4GiB", 2**32), ("4GB", 4 * 10**9),
        ("1.5 kib", 1536), ("7B", 7), ("1TiB", 2**40), ("1tb", 10**12),
    ],
)  # fmt: skip
def test_a_size_is_bytes_or_has_a_unit(given: Any, number: int) -> None:
    """GiB is a power of two, GB is decimal."""
    assert parsers.size(given) == number


@pytest.mark.parametrize("given", ["", "0", "much", "4G", "-1", "4GiBs", True, None, 1.5])
def test_another_text_is_no_size(given: Any) -> None:
    """The error shows what is accepted."""
    with pytest.raises(ValueError, match="such as 1048576, 512MiB, 4GiB or 4GB"):
        parsers.size(given)


DURATIONS = [s.dotted for s in config.SETTINGS if s.help.startswith("Seconds")]
SIZES = [s.dotted for s in config.SETTINGS if s.help.startswith("Bytes")]


def test_some_settings_are_durations_and_sizes() -> None:
    """The next test finds them by the first word of their help."""
    assert {"lease", "result_expires", "worker.drain_timeout"} <= set(DURATIONS)
    assert SIZES == ["worker.max_memory"]


@pytest.mark.parametrize(
    ("key", "text", "value"), [*((k, "5m", 300) for k in DURATIONS), *((k, "4MiB", 2**22) for k in SIZES)]
)
def test_every_setting_accepts_a_unit(key: str, text: str, value: float) -> None:
    """Each duration and each size is read by the one parser, from the environment as from a file."""
    setting = next(s for s in config.SETTINGS if s.dotted == key)
    assert config.load({setting.variables[0]: text}).get(key) == value
