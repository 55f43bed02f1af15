"""A model: which rows are tried again, and how many at once, with a function in place of a real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mlq.model import DeviceLost, ModelError, RowFailure, accelerator
from mlq.model.model import BatchCap, Forward


class Fake:
    """Answers each row with itself, raises `bad` for a forward with a bad row, and counts forwards."""

    def __init__(self, bad: dict[int, Exception] | None = None, fits: int = 1000) -> None:
        self.bad = bad or {}
        self.fits = fits
        self.sizes: list[int] = []

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        self.sizes.append(len(rows))
        if len(rows) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        for row in rows:
            if row in self.bad:
                raise self.bad[row]
        return list(rows)


class Kinds:
    """The exceptions that are no fault of the rows."""

    transient: tuple[type[Exception], ...] = (ConnectionError,)
    interrupts: tuple[type[Exception], ...] = (TimeoutError,)


def _run(fake: Fake, rows: int, cap: BatchCap | None = None) -> list[Any]:
    return Forward(fake, cap or BatchCap(64), Kinds()).run(list(range(rows)))


@pytest.mark.parametrize("place", [0, 31, 63])
def test_one_bad_row_of_64_fails_alone_in_13_forwards(place: int) -> None:
    """By bisection, the other 63 rows are answered, and only its neighbor is tried alone, too."""
    fake = Fake(bad={place: ValueError("no")})
    answers = _run(fake, 64)
    failed = answers.pop(place)
    assert answers == [row for row in range(64) if row != place]
    assert failed == RowFailure(fake.bad[place], retryable=False)
    assert len(fake.sizes) == 13


def test_a_transient_failure_is_not_bisected() -> None:
    """The rows are not at fault, so halves would only cost more forwards."""
    fake = Fake(bad={5: ConnectionError("away")})
    with pytest.raises(ConnectionError, match="away"):
        _run(fake, 64)
    assert fake.sizes == [64]


def test_an_invalid_output_is_not_bisected() -> None:
    """The code of the model is at fault, for all rows."""
    fake = Fake(bad={0: ModelError("one output for 64 rows")})
    assert _run(fake, 64) == [RowFailure(fake.bad[0], retryable=False)] * 64
    assert fake.sizes == [64]


def test_rows_that_do_not_fit_into_memory_are_halved_and_lower_the_cap() -> None:
    """No row is lost, and the next batch starts with the size that fitted."""
    fake, cap = Fake(fits=20), BatchCap(64)
    assert _run(fake, 64, cap) == list(range(64))
    assert fake.sizes == [64, 32, 16, 16, 16, 16]
    fake.sizes.clear()
    assert _run(fake, 40, cap) == list(range(40))
    assert fake.sizes == [16, 16, 8]


def test_a_single_row_that_does_not_fit_is_retryable() -> None:
    """It may fit on another device, or when another process has freed its memory."""
    (failed,) = _run(Fake(fits=0), 1)
    assert failed.retryable
    assert "out of memory" in str(failed.error)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_lost_device_ends_all_forwards(error: Exception) -> None:
    """No later forward can succeed in this process."""
    fake = Fake(bad={5: error})
    with pytest.raises(DeviceLost, match="CUDA error"):
        _run(fake, 64)
    assert fake.sizes == [64]


def test_full_memory_is_not_a_lost_device() -> None:
    """An allocation outside torch's allocator raises AcceleratorError, too, but the context stays usable."""
    (failed,) = _run(Fake(bad={0: torch.AcceleratorError("CUDA error: out of memory")}), 1)
    assert failed.retryable


def test_computing_one_element_decides_what_the_status_of_a_library_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the device computes it, memory was full; otherwise the device is lost."""
    fake = Fake(bad={0: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")})
    monkeypatch.setattr(accelerator, "_computes", lambda: True)
    (failed,) = _run(fake, 1)
    assert failed.retryable
    monkeypatch.setattr(accelerator, "_computes", lambda: False)
    with pytest.raises(DeviceLost, match="CUDNN_STATUS"):
        _run(fake, 1)


def test_a_device_that_is_full_up_to_the_last_byte_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test element finds no memory either, while the failed forward holds all of it."""

    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "ones", full)
    (failed,) = _run(Fake(bad={0: RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")}), 1)
    assert failed.retryable


def test_the_cap_grows_again_after_enough_full_forwards() -> None:
    """It grows slowly, never above the limit, and small forwards do not count."""
    cap = BatchCap(10)
    cap.shrink(10)
    for _ in range(1000):
        cap.fitted(4)
    assert cap.rows == 5
    seen = {5}
    for _ in range(100):
        cap.fitted(cap.rows)
        seen.add(cap.rows)
    assert seen == {5, 7, 10}


def test_the_cap_never_falls_below_one_row() -> None:
    """A smaller forward is impossible."""
    cap = BatchCap(4)
    cap.shrink(1)
    assert cap.rows == 1
