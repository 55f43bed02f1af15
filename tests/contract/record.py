"""Write tests/contract/contract.json anew.  python -m tests.contract.record [--everything]

This is allowed for additions that CHANGELOG.md names: a new command, option, field, key, header or setting. Scripts,
other Celery clients and workers of other versions rely on everything recorded, so it may not go away or change: the
command then writes nothing, and prints the paths that would be lost. `--everything` writes the file nevertheless; that
is a break of the contract, which CHANGELOG.md names as such, or the correction of a wrong recording.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def main(arguments: list[str]) -> int:
    """Run the contract tests in the mode that records."""
    if arguments not in ([], ["--everything"]):
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    what = "everything" if arguments else "additions"
    return pytest.main(["-p", "no:xdist", "-q", f"--record-contract={what}", str(Path(__file__).parent)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
