"""The starter of workers for supervisors of version 0.1.0, which have the path of this file in their command lines.

Such a supervisor may still run after an upgrade, and start workers with the new code. See mlq/ipc/parent_death.py.
"""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parent / "ipc" / "parent_death.py"), run_name="__main__")
