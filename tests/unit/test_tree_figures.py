"""The figures of the source tree, on trees of a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks import tree


def written(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a checkout."""
    for name, text in files.items():
        path = root / "mlq" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_every_spelling_of_an_import_counts_as_one_importer(tmp_path: Path) -> None:
    """A module that is reported as imported once must not have an importer that the script overlooked."""
    root = written(
        tmp_path,
        {
            "__init__.py": "",
            "jobs/__init__.py": "from mlq.jobs import chunk\n",
            "jobs/chunk.py": "import mlq.jobs.chunk\n",
            "jobs/row.py": "",
            "jobs/output.py": "def late():\n    from . import row\n",
            "model.py": "from mlq.jobs.row import Row\nfrom mlq.jobs import chunk\nfrom mlq import worker\n",
            "worker.py": "import mlq.jobs.output\nfrom .model import Model\n",
            "tasks.py": "from .jobs import output\n",
        },
    )
    assert tree.measure(root).imported_once == {
        "mlq/jobs/chunk.py": "mlq/model.py",  # neither its package nor the module itself
        "mlq/model.py": "mlq/worker.py",
        "mlq/worker.py": "mlq/model.py",
    }


def test_names_sizes_and_folders_are_counted_as_the_docstring_defines_them(tmp_path: Path) -> None:
    """Figures of two versions can only be compared if the exceptions are the same in both."""
    root = written(
        tmp_path,
        {
            "__init__.py": "class Twice: ...\n",
            "one.py": "class Twice:\n    def inside(self): ...\n\ndef _hidden(): ...\n" + "\n" * 40,
            "two.py": "def _hidden(): ...\n\n@decorated\n@again\ndef inside():\n    return 1\n",
            "sending.py": "def once(): ...\ndef once(): ...\n",
            "setting_aside.py": "",
            "ingress.py": "",
            "scripts/claim.lua": "return 1\n",
        },
    )
    figures = tree.measure(root)
    assert (figures.modules, figures.others, figures.folders) == (6, 1, {"mlq": 6})
    assert figures.defined_twice == {"Twice": ["mlq/__init__.py", "mlq/one.py"]}
    assert figures.private_defined_twice == {"_hidden": ["mlq/one.py", "mlq/two.py"]}
    assert figures.gerunds == ["mlq/sending.py", "mlq/setting_aside.py"]
    assert figures.small == ["mlq/ingress.py", "mlq/sending.py", "mlq/setting_aside.py", "mlq/two.py"]
    assert figures.longest_file == ("mlq/one.py", 44)
    assert figures.longest_function == ("mlq/two.py:inside", 4)
