"""A file through the plain setup with a script: it sends chunks, and writes the answers in order.

python -m benchmarks.plain.submit rows.jsonl answers.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from benchmarks.plain.celery_app import batch_predict

CHUNK: Final = 256
PATIENCE_S: Final = 600


def submit(source: Path, target: Path) -> None:
    """Send every row of a file of JSON Lines; write the answers as JSON Lines."""
    with source.open() as lines:
        rows = [json.loads(line) for line in lines]
    sent = [batch_predict.apply_async(([*rows[i : i + CHUNK]],)) for i in range(0, len(rows), CHUNK)]
    with target.open("w") as out:
        index = 0
        for chunk in sent:
            for answer in chunk.get(timeout=PATIENCE_S):
                out.write(json.dumps({"id": index, "index": index, "status": "ok", "result": answer}) + "\n")
                index += 1


if __name__ == "__main__":
    submit(Path(sys.argv[1]), Path(sys.argv[2]))
