"""Measure the source tree: how large its files are, and how they depend on one another.  python -m benchmarks.tree

The figures are read from the source of mlq/ alone; nothing is imported, so any version's checkout can be given as
`--root`. What each figure counts:

- Modules: the Python files in mlq/, `__init__.py` included; `others` are all other files (Lua scripts, `py.typed`).
- Files in the fullest folder: Python files that lie directly in it, `__init__.py` included.
- Small modules: at most 40 lines; `__init__.py` is excluded, because a package needs one.
- Modules with one importer: exactly one other module in mlq/ imports the module, at its top, inside a function or for
  type checking only. Packages (`__init__.py`) are not counted, neither as imported nor as importers of their own
  modules. Modules that are started or loaded by name (commands, `python -m mlq.worker`) have no importer.
- Names defined twice: classes and functions at the top level of more than one module. Names that begin with an
  underscore are counted separately: they cannot be mixed up outside their module, but in a reader's head.
- Gerunds: modules with a word in their name that ends in "-ing". Real nouns such as `packing` are counted as well,
  since any list of exceptions would be a matter of taste.
- Longest file and function: in lines; the decorators and the docstring of a function count.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

_SMALL_LINES: Final = 40
_FULL_FOLDER: Final = 16
_PACKAGE: Final = "mlq"


@dataclass(frozen=True)
class Module:
    """A module with its syntax tree. `name` is what an import statement calls it: `mlq.jobs.chunk`."""

    name: str
    path: Path
    source: str

    @property
    def is_package(self) -> bool:
        """True for an `__init__.py`."""
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> int:
        """The number of lines, blank lines and comments included."""
        return len(self.source.splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.source)

    def definitions(self) -> Iterator[str]:
        """Yield the names of the classes and functions at the top level."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name

    def functions(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the length of each function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield node.name, (node.end_lineno or first) - first + 1

    def imports(self) -> Iterator[str]:
        """Yield every name that an import statement may mean: `from a import b` is either the module a.b or a."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])


@dataclass(frozen=True)
class Figures:
    """The figures of one tree; the module docstring says what each of them counts."""

    modules: int
    others: int
    lines: int
    folders: Mapping[str, int]
    small: Sequence[str]
    imported_once: Mapping[str, str]
    defined_twice: Mapping[str, Sequence[str]]
    private_defined_twice: Mapping[str, Sequence[str]]
    gerunds: Sequence[str]
    longest_file: tuple[str, int]
    longest_function: tuple[str, int]


def measure(root: Path) -> Figures:
    """Measure the package mlq in a checkout."""
    modules = read(root)
    if not modules:
        message = f"{root} has no directory {_PACKAGE}/ with Python files"
        raise SystemExit(message)
    files = [path for path in (root / _PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    own = [module for module in modules if not module.is_package]
    twice = _defined_twice(modules)
    functions = [(f"{module.path}:{name}", lines) for module in modules for name, lines in module.functions()]
    return Figures(
        modules=len(modules),
        others=len(files) - len(modules),
        lines=sum(module.lines for module in modules),
        folders=dict(Counter(str(module.path.parent) for module in modules).most_common()),
        small=[str(module.path) for module in own if module.lines <= _SMALL_LINES],
        imported_once=_imported_once(modules),
        defined_twice={name: places for name, places in twice.items() if not name.startswith("_")},
        private_defined_twice={name: places for name, places in twice.items() if name.startswith("_")},
        gerunds=[str(module.path) for module in own if "ing_" in f"{module.path.stem}_"],
        longest_file=max(((str(module.path), module.lines) for module in modules), key=lambda found: found[1]),
        longest_function=max(functions, key=lambda found: found[1], default=("", 0)),
    )


def read(root: Path) -> Sequence[Module]:
    """Read the modules of the package mlq in a checkout, in the order of their paths."""
    modules = []
    for file in sorted((root / _PACKAGE).rglob("*.py")):
        path = file.relative_to(root)
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if path.name == "__init__.py" else parts)
        modules.append(Module(name, path, file.read_text(encoding="utf-8")))
    return modules


def _imported_once(modules: Sequence[Module]) -> Mapping[str, str]:
    """Map each module with exactly one importer to that importer."""
    importers: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for name in module.imports():
            importers[name].add(str(module.path))
    found = {}
    for module in modules:
        others = importers[module.name] - {str(module.path), str(module.path.parent / "__init__.py")}
        if not module.is_package and len(others) == 1:
            (found[str(module.path)],) = others
    return found


def _defined_twice(modules: Sequence[Module]) -> Mapping[str, Sequence[str]]:
    """Map each name that more than one module defines to these modules, the most frequent names first."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for name in sorted(set(module.definitions())):
            places[name].append(str(module.path))
    found = {name: paths for name, paths in places.items() if len(paths) > 1}
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def _rows(figures: Figures) -> Iterable[tuple[str, object]]:
    folder, most = next(iter(figures.folders.items()))
    full = sum(count > _FULL_FOLDER for count in figures.folders.values())
    yield "modules", figures.modules
    yield "other files", figures.others
    yield "lines", figures.lines
    yield "folders", len(figures.folders)
    yield "modules in the fullest folder", f"{most} ({folder})"
    yield f"folders with more than {_FULL_FOLDER} modules", full
    yield f"modules of at most {_SMALL_LINES} lines", len(figures.small)
    yield "modules with one importer", len(figures.imported_once)
    yield "public names defined twice", len(figures.defined_twice)
    yield "private names defined twice", len(figures.private_defined_twice)
    yield "gerunds", len(figures.gerunds)
    yield "longest file", "{} ({} lines)".format(*figures.longest_file)
    yield "longest function", "{} ({} lines)".format(*figures.longest_function)


def _lists(figures: Figures) -> Iterable[str]:
    yield from _section("modules per folder", (f"{count:4}  {path}" for path, count in figures.folders.items()))
    yield from _section(f"at most {_SMALL_LINES} lines", figures.small)
    yield from _section("one importer", (f"{path}  <- {importer}" for path, importer in figures.imported_once.items()))
    yield from _section(
        "public names defined twice",
        (f"{len(paths):4}  {name}: {', '.join(paths)}" for name, paths in figures.defined_twice.items()),
    )
    yield from _section("gerunds", figures.gerunds)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    yield from (f"  {line}" for line in lines)


def main(argv: Sequence[str]) -> int:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree", description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--root", type=Path, default=here, help="checkout to measure (default: this one)")
    parser.add_argument("--list", action="store_true", help="list what was counted, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object, lists included")
    asked = parser.parse_args(argv)
    figures = measure(asked.root.resolve())
    if asked.json:
        text = json.dumps(asdict(figures), indent=2)
    else:
        table = [f"{name:<34} {value}" for name, value in _rows(figures)]
        text = "\n".join([*table, *(_lists(figures) if asked.list else ())])
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
