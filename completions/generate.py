"""Write mlq.bash, _mlq and mlq.fish from the real command line; with --check, say which of them is out of date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import bash
import fish
import tree
import zsh

HERE: Final = Path(__file__).parent
WRITERS: Final[dict[str, Callable[[tree.Command], str]]] = {
    "mlq.bash": bash.write,
    "_mlq": zsh.write,
    "mlq.fish": fish.write,
}


def main(arguments: list[str]) -> int:
    """Write the files that differ, or with --check only name them, and exit 1 if there are any."""
    commands = tree.read()
    wanted = {HERE / name: write(commands) for name, write in WRITERS.items()}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path} does not fit the command line: `make completions` writes it anew", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
