"""Class models: all hooks, and all ways in which they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from mlq.errors import InvalidModel
from mlq.model import DeviceLost, Model, RowFailure

Serve = Callable[[str], Model]


@pytest.fixture
def serve_class(tmp_path: Path, serve: Callable[..., Model]) -> Serve:
    """Write a class with this body to serve.py, and load it."""

    def run(body: str) -> Model:
        path = tmp_path / "serve.py"
        path.write_text(f"class Model:\n{_indented(body)}")
        return serve(f"{path}:Model")

    return run


def _indented(body: str) -> str:
    return "\n".join("    " + line for line in dedent(body).splitlines()) + "\n"


def test_a_class_needs_only_predict(serve_class: Serve) -> None:
    """It needs no base class, no import of mlq and no setup."""
    model = serve_class("def predict(self, batch): return [row * 2 for row in batch]")
    assert model.predict([1, "a", [3]]) == [2, "aa", [3, 3]]
    assert model.max_batch_size == 32
    model.close()


def test_every_hook_is_called(serve_class: Serve) -> None:
    """The hooks set up, give an example, prepare and finish each row, and tear down."""
    model = serve_class("""
        max_batch_size = 2
        calls = []
        def setup(self, device): self.calls.append(device)
        def example(self): return "0"
        def preprocess(self, row): return int(row)
        def predict(self, batch): self.calls.append(batch); return [n + 1 for n in batch]
        def postprocess(self, output): return {"next": output, "calls": len(self.calls)}
        def teardown(self): self.calls.append("gone"); raise RuntimeError(self.calls)
    """)
    answers = model.predict(["1", "2", "three", "4"])
    assert [answers[0], answers[1], answers[3]] == [
        {"next": 2, "calls": 3},
        {"next": 3, "calls": 3},
        {"next": 5, "calls": 4},
    ]
    assert isinstance(answers[2], RowFailure)
    with pytest.raises(RuntimeError, match=r"\['cpu', \[0\], \[1, 2\], \[4\], 'gone'\]"):
        model.close()


def test_an_exception_in_a_slot_fails_that_row(serve_class: Serve) -> None:
    """A transient exception is retryable; the other rows are computed once."""
    model = serve_class("""
        retry_on = (KeyError,)
        calls = 0
        def predict(self, batch):
            self.calls += 1
            return [self.calls, ValueError("bad"), KeyError("later"), TimeoutError("slow")]
    """)
    fine, bad, later, slow = model.predict([1, 2, 3, 4])
    assert fine == 1
    assert isinstance(bad, RowFailure)
    assert (str(bad.error), bad.retryable) == ("bad", False)
    assert isinstance(later, RowFailure)
    assert later.retryable
    assert isinstance(slow, RowFailure)
    assert slow.retryable
    assert model.transient == (ConnectionError, TimeoutError, KeyError)


def test_a_transient_exception_is_raised_to_the_caller(serve_class: Serve) -> None:
    """If the database of a model is away, no row is at fault."""
    model = serve_class("""
        class Away(Exception): pass
        retry_on = (Away,)
        def predict(self, batch): raise self.Away("the feature store")
    """)
    with pytest.raises(model.transient, match="the feature store"):
        model.predict([1, 2])


def test_a_class_that_catches_the_loss_of_its_device_does_not_hide_it(serve_class: Serve) -> None:
    """Otherwise each later row would fail on a worker that reports that it is ready."""
    model = serve_class("""
        def predict(self, batch): return [RuntimeError("CUDA error: device-side assert triggered") for _ in batch]
    """)
    with pytest.raises(DeviceLost, match="device-side assert"):
        model.predict([1])


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ("[1]", "answered 2 rows with 1 outputs"),
        ("numpy.zeros((3, 2))", "answered 2 rows with 3 outputs"),
        ("numpy.float32(1)", "answered 2 rows with one float32, not a list of length 2"),
        ("(1, 2)", "answered 2 rows with one tuple"),
        ("None", "answered 2 rows with one NoneType"),
    ],
)
def test_a_wrong_number_of_outputs_fails_every_row_with_both_lengths(
    serve_class: Serve, returned: str, complaint: str
) -> None:
    """It is unknown which output belongs to which row, so no row gets one."""
    answers = serve_class(f"""
        def predict(self, batch):
            import numpy
            return {returned}
    """).predict([1, 2])
    assert all(isinstance(a, RowFailure) and complaint in str(a.error) for a in answers)
    assert len(answers) == 2


def test_numpy_inside_an_output_becomes_json(serve_class: Serve) -> None:
    """NaN and values that JSON cannot represent fail only their row."""
    answers = serve_class("""
        def predict(self, batch):
            import numpy
            import torch
            nested = {"p": numpy.float32(0.5), "box": numpy.array([1, 2]), 3: (torch.tensor([0.25]), None)}
            return [nested, {"p": [float("nan")]}, object()]
    """).predict([1, 2, 3])
    assert answers[0] == {"p": 0.5, "box": [1, 2], "3": [[0.25], None]}
    assert isinstance(answers[1], RowFailure)
    assert "NaN" in str(answers[1].error)
    assert isinstance(answers[2], RowFailure)
    assert str(answers[2].error) == "the model answered with type object, which JSON cannot carry"


@pytest.mark.parametrize(
    ("body", "reason", "fix"),
    [
        ("def predict(self): ...\ndef setup(self, device): {}['weights']", "KeyError: 'weights'", "--debug"),
        ("def predict(self, batch): 1 / 0\ndef example(self): return 1", "ZeroDivisionError: division", "--debug"),
        ("def predict(self): ...\nmax_batch_size = 0", "max_batch_size is 0", "at least 1"),
        ("def predict(self): ...\nretry_on = ValueError", "retry_on is <class 'ValueError'>", "(SomeError,)"),
        ("def predict(self): ...\nraise SystemExit(1)", "SystemExit: 1", "--debug"),
        ("x = (", "SyntaxError: '(' was never closed", "--debug"),
        ("def answer(self): ...", "no class 'Model' with a predict method", "predict(batch) returns a list"),
    ],
)
def test_a_class_that_does_not_load_is_an_invalid_model(serve_class: Serve, body: str, reason: str, fix: str) -> None:
    """The error has the last line of the traceback and the operator's line; there is no restart loop."""
    with pytest.raises(InvalidModel) as refused:
        serve_class(body)
    assert reason in refused.value.message
    assert "serve.py" in refused.value.message
    assert fix in refused.value.hint


def test_out_of_memory_in_setup_says_how_much_was_missing(serve_class: Serve) -> None:
    """The figures are from torch's message: a restart does not free the device."""
    with pytest.raises(InvalidModel, match=r"out of memory: needs about 20\.00 GiB more, free 1\.25 GiB") as refused:
        serve_class("""
            def predict(self, batch): ...
            def setup(self, device):
                import torch
                raise torch.OutOfMemoryError(
                    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.80 GiB "
                    "of which 1.25 GiB is free. Including non-PyTorch memory, this process has 138 GiB in use."
                )
        """)
    assert "nvidia-smi" in refused.value.hint


def test_the_error_about_a_missing_class_lists_the_existing_ones(tmp_path: Path, serve: Callable[..., Model]) -> None:
    """An imported class is not listed."""
    (tmp_path / "neighbour_of_serve.py").write_text("class Other:\n    def predict(self, batch): ...\n")
    path = tmp_path / "serve.py"
    path.write_text("from neighbour_of_serve import Other\nclass Digits:\n    def predict(self, batch): ...\n")
    with pytest.raises(InvalidModel, match="has no class 'Model'") as refused:
        serve(f"{path}:Model")
    assert refused.value.hint == f"it has {path}:Digits"
    with pytest.raises(InvalidModel, match="it names no class"):
        serve(path)


def test_a_class_in_a_module_is_found_from_the_working_directory(
    tmp_path: Path, serve: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like `python -m`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served_from_here.py").write_text("class Model:\n    def predict(self, batch): return batch\n")
    assert serve("served_from_here:Model").predict([1]) == [1]
    with pytest.raises(InvalidModel, match=r"finds no module 'not_from_here\.deep'"):
        serve("not_from_here.deep:Model")
