"""Models: references, file formats, loading, forwards and outputs."""

from mlq.model.failure import DeviceLost, ModelError, RowFailure
from mlq.model.loader import load
from mlq.model.model import Model
from mlq.model.reference import ModelRef

__all__ = ["DeviceLost", "Model", "ModelError", "ModelRef", "RowFailure", "load"]
