"""Measure images per second of ResNet-50 on one GPU: a file through mlq, beside a bare loop on the same card.

python -m benchmarks.gpu -o gpu.json         measures, and adds its figures to the report of tests/gpu/run.sh
python -m benchmarks.gpu --render gpu.json   prints the report as benchmarks/GPU.md shows it
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.process import Process
from benchmarks.resnet import BATCH, SIDE
from benchmarks.turns import turns
from mlq.supervisor.devices import nvml

ROOT: Final = Path(__file__).parent.parent
MLQ: Final = Path(sys.executable).with_name("mlq")
ROUNDS: Final = 3
ROWS: Final[Mapping[str, int]] = {"Numbered": 64_000, "Sent": 1_280}
FEW: Final = BATCH
TITLES: Final = {
    "Numbered": "images on the device already, a row is a number",
    "Sent": "a row is the image, 150,528 bytes in base64",
}


def measure(directory: Path) -> Iterator[dict[str, Any]]:
    """Measure one kind of rows after the other; yield what is known so far: figures of each round and their ratios."""
    (gpu, *_) = nvml.offered(nvml.library(), os.environ)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLQ_", "CELERY_"))},
        "XDG_STATE_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "CUDA_VISIBLE_DEVICES": gpu.uuid,
        "PYTHONPATH": str(ROOT),
    }
    kinds: dict[str, Any] = {}
    for kind in ROWS:
        kinds[kind] = _measure(kind, directory, environment)
        yield {"model": "ResNet-50, random weights, fp16", "batch": BATCH, "image": [SIDE, SIDE, 3], "rows": kinds}


def _measure(kind: str, directory: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    source, few = directory / f"{kind}.jsonl", directory / f"{kind}-few.jsonl"
    _write(source, kind, ROWS[kind])
    _write(few, kind, FEW)
    rates: dict[str, list[float]] = {"mlq": [], "mlq_without_start": [], "bare": []}
    with _worker(kind, directory, environment):  # idle, and so leaves the GPU to the bare loop, while that has its turn
        for who in turns(["mlq", "bare"], ROUNDS):
            if who == "bare":
                rates["bare"].append(ROWS[kind] / _bare(kind, source, directory, environment))
            else:
                start = _mlq(few, directory, environment)
                took = _mlq(source, directory, environment)
                rates["mlq"].append(ROWS[kind] / took)
                rates["mlq_without_start"].append((ROWS[kind] - FEW) / (took - start))
            sys.stderr.write(f"{TITLES[kind]}: {who} {rates[who][-1]:,.0f} images/s\n")
    ratios = [ours / bare for ours, bare in zip(rates["mlq"], rates["bare"], strict=True)]
    net = [ours / bare for ours, bare in zip(rates["mlq_without_start"], rates["bare"], strict=True)]
    return {"count": ROWS[kind], "images_per_s": rates, "ratios": ratios, "ratios_without_start": net}


def _write(path: Path, kind: str, rows: int) -> None:
    with path.open("wb") as file:
        for number in range(rows):
            row = number if kind == "Numbered" else base64.b64encode(os.urandom(SIDE * SIDE * 3)).decode()
            file.write(json.dumps(row).encode() + b"\n")


@contextmanager
def _worker(kind: str, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    model = f"{ROOT / 'benchmarks' / 'resnet.py'}:{kind}"
    argv = [str(MLQ), "worker", "start", "--gpus", "0", "--model", model]
    process = Process(argv, environment, directory / "worker.log")
    try:
        process.wait_for("ready after")
        yield
    finally:
        process.end()


def _mlq(source: Path, directory: Path, environment: Mapping[str, str]) -> float:
    """Run the whole command, its start included; return its seconds."""
    target = directory / "answers.jsonl"
    target.unlink(missing_ok=True)
    began = time.perf_counter()
    _run([str(MLQ), "submit", str(source), "--wait", "-o", str(target)], directory, environment)
    return time.perf_counter() - began


def _bare(kind: str, source: Path, directory: Path, environment: Mapping[str, str]) -> float:
    argv = [sys.executable, "-m", "benchmarks.resnet", kind, str(source), str(directory / "bare.jsonl")]
    return float(_run(argv, directory, environment))


def _run(argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def about() -> dict[str, Any]:
    """Describe the machine and the versions of this run."""
    import torch

    (gpu, *_) = nvml.offered(nvml.library(), os.environ)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    packages = {name: version(name) for name in ("celery", "kombu", "redis", "numpy", "torchvision")}
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "gpu": gpu.name,
        "gpu_memory_bytes": gpu.memory_bytes,
        "driver": driver,
        "machine": machine.description(),
        "commit": machine.commit(),
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            **packages,
        },
    }


def render(report: Mapping[str, Any]) -> str:
    """Write a report as Markdown: the machine, the checks, the benchmark."""
    about, bench = report["about"], report["benchmark"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        "# On a GPU",
        "",
        f"Written by `tests/gpu/run.sh` on {about['at']}, commit {about['commit']}.",
        "",
        f"- GPU: {about['gpu']}, {about['gpu_memory_bytes'] / 2**30:.0f} GiB, driver {about['driver']}",
        f"- Machine: {about['machine']}",
        f"- Versions: {versions}",
        "",
        "| check | outcome | seconds | seen |",
        "|---|---|---|---|",
        *(_check(name, check) for name, check in report["checks"].items()),
        "",
        f"## {bench['model']}, batches of {bench['batch']}",
        "",
        "Images per second from a file of rows to a file of answers: medians of the rounds; a ratio is that of one",
        "round. `mlq` is the whole command `mlq submit FILE --wait -o OUT`, its start included, with one worker. The",
        "bare loop is one process that reads the same file, runs the same batches on the same GPU, and writes the",
        "same answers. Loading the model is not timed in either.",
        "",
        "| rows | mlq | without the start | bare loop | mlq ÷ bare loop | without the start |",
        "|---|---|---|---|---|---|",
        *(_rows(kind, figures) for kind, figures in bench["rows"].items()),
        "",
        "## The report",
        "",
        "```json",
        json.dumps(report, separators=(",", ":")),
        "```",
        "",
    ]
    return "\n".join(lines)


def _check(name: str, check: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{k}: {v}" for k, v in check.items() if k not in {"outcome", "seconds"}).replace("|", "\\|")
    sentence = name.removeprefix("test_").replace("_", " ")
    return f"| {sentence} | {check['outcome']} | {check['seconds']:g} | {facts} |"


def _rows(kind: str, figures: Mapping[str, Any]) -> str:
    rates = [f"{statistics.median(figures['images_per_s'][who]):,.0f}" for who in ("mlq", "mlq_without_start", "bare")]
    ratios = [
        f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        for values in (figures["ratios"], figures["ratios_without_start"])
    ]
    return f"| {figures['count']:,} rows, {TITLES[kind]} | {' | '.join([*rates, *ratios])} |"


def main() -> None:
    """Measure and write the report, or print one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("-o", type=Path, metavar="FILE", help="the report; what it holds already stays")
    parser.add_argument("--render", type=Path, metavar="FILE", help="print this report as Markdown")
    arguments = parser.parse_args()
    if arguments.render:
        sys.stdout.write(render(json.loads(arguments.render.read_text())))
        return
    path: Path = arguments.o or Path("gpu.json")
    report = json.loads(path.read_text()) if path.exists() else {"schema": "mlq.gpu/1", "checks": {}}
    with tempfile.TemporaryDirectory(prefix="mlq-gpu-") as directory:
        report["about"] = about()
        for report["benchmark"] in measure(Path(directory)):
            path.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(render(report))


if __name__ == "__main__":
    main()
