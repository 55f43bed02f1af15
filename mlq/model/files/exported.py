"""Exported programs, which torch.export.save writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlq.model.failure import NotServable
from mlq.model.files.file_model import FileModel
from mlq.model.files.signature import Signature

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

HOW_TO_EXPORT = (
    "torch.export.save(torch.export.export(model, (example_rows,), "
    'dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), "model.pt2")'
)


def load_exported(path: Path, *, device: str, max_batch_size: int) -> FileModel:
    """Load a program, and read from it how many rows it takes at once. Raises NotServable."""
    import torch
    from torch.export.passes import move_to_device_pass

    program = torch.export.load(path)
    rows = _input(program)
    batch, *row = rows.shape
    limit = _rows_at_once(program, batch, max_batch_size)
    signature = Signature(rows.dtype, tuple(_length(n) for n in row))
    # No .eval() on the module: an exported program has the mode of its export, and would raise.
    module = move_to_device_pass(program, device).module()
    # The forward with its guards, but without torch's layers for hooks and tracing around a call, which take half of
    # the time of a single row in a small model.
    return FileModel(module.forward, signature, device=device, max_batch_size=limit)


def _input(program: ExportedProgram) -> torch.Tensor:
    """Return the single input tensor of a program, with shape and dtype, but without data. Raises NotServable."""
    import torch

    names = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    found = [values.get(name) if isinstance(name, str) else name for name in names]
    if len(found) != 1 or not isinstance(found[0], torch.Tensor) or found[0].dim() == 0:
        raise NotServable(
            f"the program takes ({', '.join(map(str, names))}), not one tensor of rows",
            fix="serve it from a class, file.py:Class, whose setup() calls torch.export.load",
        )
    return found[0]


def _rows_at_once(program: ExportedProgram, batch: Any, asked: int) -> int:
    """Return the most rows of a forward. Raises NotServable for a fixed number of rows, the default of an export."""
    if not isinstance(batch, int):
        bounds = program.range_constraints.get(batch.node.expr)
        # Without a bound, upper is sympy's infinity, which can be compared with an int, but not converted.
        return asked if bounds is None or bounds.upper > asked else int(bounds.upper)
    if batch == 1:
        return 1
    raise NotServable(
        f"it was exported for batches of exactly {batch} rows",
        fix=f"export it with a dynamic batch dimension: {HOW_TO_EXPORT}",
    )


def _length(n: Any) -> int | None:
    """Return a length, or None for a symbol, which stands for any length."""
    return n if isinstance(n, int) else None
