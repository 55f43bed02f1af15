"""Write tests/contract/contract.json anew.  python -m tests.contract.record [--everything]

Allowed for additions that CHANGELOG.md names: a new command, option, field, key, header, setting. Nothing that is
recorded may go away or change, because scripts, other Celery clients and workers of other versions rely on it: then
nothing is written, and the paths of what would be lost are printed. `--everything` writes it all the same; that is a
break of the contract, which CHANGELOG.md names as such, or the correction of a recording that was wrong.
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
