"""Write mlq.bash, _mlq and mlq.fish from the real command line, and the table of docs/settings.md from the settings.

With --check, say which of them is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import bash
import fish
import tree
import zsh

from mlq.settings.config import SETTINGS

HERE: Final = Path(__file__).parent
WRITERS: Final[dict[str, Callable[[tree.Command], str]]] = {
    "mlq.bash": bash.write,
    "_mlq": zsh.write,
    "mlq.fish": fish.write,
}

SETTINGS_PAGE: Final = HERE.parent / "docs" / "settings.md"
_TABLE: Final = re.compile(r"(?<=\|---\|---\|---\|---\|\n)(?:\|.*\n)*")


def settings_page() -> dict[Path, str]:
    """Return docs/settings.md with the table of settings as the code declares them; a source package has no docs."""
    if not SETTINGS_PAGE.is_file():
        return {}
    rows = [
        f"| `{s.dotted}` | {', '.join(f'`{v}`' for v in s.variables)} | {s.help} | {s.shown_default} |\n"
        for s in SETTINGS
    ]
    return {SETTINGS_PAGE: _TABLE.sub(lambda _: "".join(rows), SETTINGS_PAGE.read_text())}


def main(arguments: list[str]) -> int:
    """Write the files that differ, or with --check only name them, and exit 1 if there are any."""
    commands = tree.read()
    wanted = {HERE / name: write(commands) for name, write in WRITERS.items()} | settings_page()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path} does not match the code: `make completions` writes it anew", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
