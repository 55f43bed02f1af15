"""Exit codes: typical calls of every command, under named circumstances, with the exit code of each.

Only the form of an error is checked: two lines, `mlq: …` and `hint: …`, the last on stderr. Their wording is free.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from tests.conftest import User

FILES: Final = {
    "row.json": '{"x": 1}\n',
    "rows.jsonl": "[1]\n[2]\n",
    "other.jsonl": "[3]\n[4]\n[5]\n",
    "torn.jsonl": "[1]\n[2\n",
    "torn.json": "[1, 2",
    "twice.jsonl": '{"id": "a", "input": 1}\n{"id": "a", "input": 2}\n',
    "no-id.jsonl": '{"x": 1}\n',
    "tasks.jsonl": '{"task": "mlq.predict", "args": [1]}\n',
    "rows.csv": "x,y\n1,2\n",
    "trace.csv": "arrived\n0\n1\n",
    "words.csv": "arrived\nnever\n",
    "there.jsonl": "{}\n",
    "unknown.toml": 'broker_ulr = "redis://localhost/0"\n',
    "wrong.toml": 'lease = "soon"\n',
    "torn.toml": "lease = \n",
    "raises.py": "class Model:\n    def setup(self, device): raise RuntimeError\n    def predict(self, rows): ...\n",
}

NO_BROKER: Final = "no broker: "
BROKER_AWAY: Final = "broker away: "

_START: Final = "worker start --cpus 1 --model serve.py:Model"
_WORKER_OPTIONS: Final = (
    "--max-wait soon",
    "--output both",
    "--max-batch-size 0",
    "--time-limit soon",
    "--soft-time-limit 0",
    "--queues ''",
    "--share batch",
    "--max-tasks none",
    "--max-memory much",
    "--drain-timeout -1",
)
"""Options that are settings, with an invalid value."""

CALLS: Final[dict[str, Sequence[str]]] = {
    "": [
        "",
        "--version",
        "--help",
        "-h",
        "--nonsense",
        "nonsense",
        "sumbit",
        "--broker",
        "--config missing.toml config",
    ],
    "up": [
        "up --help",
        "up",
        "up more",
        "up --model missing.pt2",
        "up --model serve.py",
        "up --wait-broker -1",
        "up --wait-broker nan",
        "up --max-wait soon",
        f"{BROKER_AWAY}up --model serve.py:Model --wait-broker 0",
    ],
    "worker start": [
        "worker start --help",
        "worker start",
        "worker start --cpus 1",
        "worker start --cpus 0 --model serve.py:Model",
        "worker start --cpus none --model serve.py:Model",
        "worker start --gpus GPU-of-no-host --model serve.py:Model",
        "worker start --gpus all --cpus 1 --model serve.py:Model",
        "worker start --cpus 1 --per-gpu 2 --model serve.py:Model",
        "worker start --gpu 0",
        "worker start --pool threads --model serve.py:Model",
        "worker start --pool solo --concurrency 2 --model serve.py:Model",
        "worker start --pool prefork --concurrency 8-2 --model serve.py:Model",
        "worker start --cpus 1 --model missing.py:Model",
        "worker start --cpus 1 --model serve.py:Missing",
        "worker start --cpus 1 --model raises.py:Model",
        "worker start --cpus 1 --model row.json",
        *(f"{_START} {option}" for option in _WORKER_OPTIONS),
        f"{BROKER_AWAY}{_START} --wait-broker 0",
    ],
    "worker ls": [
        "worker",
        "worker ls",
        "worker --json",
        "worker ls --watch 0",
        "worker ls more",
        f"{NO_BROKER}worker",
        f"{BROKER_AWAY}worker",
    ],
    "worker drain": [
        "worker drain",
        "worker drain cpu0",
        "worker drain --all",
        "worker drain cpu0 --all",
        "worker drain cpu0 --timeout 0",
        f"{NO_BROKER}worker drain cpu0",
    ],
    "worker stop": [
        "worker stop",
        "worker stop cpu0",
        "worker stop --host nowhere",
        "worker stop cpu0 --drain-timeout soon",
        f"{BROKER_AWAY}worker stop cpu0",
    ],
    "worker restart": ["worker restart", "worker restart cpu0", "worker restart --all --rolling --drain-timeout inf"],
    "worker logs": [
        "worker logs",
        "worker logs cpu0",
        "worker logs -n none",
        f"{NO_BROKER}worker logs cpu0",
    ],
    "submit": [
        "submit",
        "submit rows.jsonl more",
        "submit missing.jsonl",
        "submit torn.json",
        "submit torn.jsonl --json",
        "submit twice.jsonl",
        "submit no-id.jsonl --id-field id",
        "submit rows.csv --delimiter ab",
        "submit rows.csv --encoding nonsense",
        "submit rows.jsonl --format nonsense",
        "submit rows.jsonl --format csv",
        "submit rows.jsonl --nonsense",
        "submit rows.jsonl --priority 10",
        "submit rows.jsonl --chunk 0",
        "submit rows.jsonl --order sideways",
        "submit rows.jsonl -o out.jsonl",
        "submit rows.jsonl --timeout 1",
        "submit rows.jsonl --wait --timeout 0",
        "submit rows.jsonl --wait --max-inflight 0",
        "submit rows.jsonl --wait --resume",
        "submit rows.jsonl --wait -o there.jsonl",
        "submit rows.jsonl --wait -o missing/out.jsonl",
        "submit rows.jsonl --wait -o out.jsonl --errors out.jsonl",
        "submit - --job-id job-piped",
        "submit rows.jsonl --job-id 'no id'",
        "submit rows.jsonl --queue undeclared",
        "submit rows.jsonl --queue undeclared --create-queue",
        "submit rows.jsonl --queue unacked --create-queue",
        "submit rows.jsonl --tasks",
        "submit tasks.jsonl --tasks",
        "submit tasks.jsonl --tasks --chunk 2",
        "submit rows.jsonl --wait --timeout 0.2",
        "submit rows.jsonl --job-id job-once",
        "submit rows.jsonl --job-id job-once",
        "submit other.jsonl --job-id job-once",
        f"{NO_BROKER}submit rows.jsonl",
        f"{BROKER_AWAY}submit rows.jsonl",
    ],
    "result": [
        "result",
        "result missing",
        "result missing --timeout 1",
        "result missing --wait --timeout 0.2",
        "submit rows.jsonl --job-id job-waits",
        "result job-waits",
        "result job-waits --wait --timeout 0.2",
        "result job-waits --wait -o there.jsonl",
        f"{NO_BROKER}result missing",
        f"{BROKER_AWAY}result missing",
    ],
    "job ls": ["job", "job ls --json", "job ls more", f"{NO_BROKER}job", f"{BROKER_AWAY}job"],
    "job show": ["job show", "job show missing", f"{NO_BROKER}job show missing"],
    "job cancel": [
        "job cancel",
        "job cancel missing",
        "submit rows.jsonl --job-id job-cancelled",
        "job cancel job-cancelled",
        "job cancel job-cancelled",
        "result job-cancelled --wait --timeout 0.2",
        f"{BROKER_AWAY}job cancel missing",
    ],
    "dead ls": ["dead", "dead ls --since yesterday", "dead ls --reason crash --json", f"{NO_BROKER}dead"],
    "dead show": ["dead show", "dead show 1-1", "dead show 1-1 --raw --json", f"{BROKER_AWAY}dead show 1-1"],
    "dead retry": [
        "dead retry",
        "dead retry 1-1",
        "dead retry 1-1 --all",
        "dead retry --all",
        "dead retry --all --yes",
        "dead retry --all --yes --rate none",
    ],
    "dead drop": ["dead drop", "dead drop 1-1", "dead drop 1-1 --yes", "dead drop --all", "dead drop --all --dry-run"],
    "dead export": ["dead export", "dead export -o missing/dead.jsonl", f"{NO_BROKER}dead export"],
    "dead rerun": ["dead rerun", "dead rerun 1-1", "dead rerun 1-1 --model serve.py:Model --time-limit soon"],
    "queues ls": [
        "queues",
        "queues ls realtime --json",
        "queues ls unknown",
        "queues --all",
        "queues realtime --all",
        "queues --watch nan",
        f"{NO_BROKER}queues",
        f"{BROKER_AWAY}queues",
    ],
    "queues pause": ["queues pause", "queues pause batch", "queues pause unknown", f"{NO_BROKER}queues pause batch"],
    "queues resume": ["queues resume", "queues resume batch", "queues resume default", "queues resume unknown"],
    "queues purge": [
        "queues purge",
        "queues purge realtime",
        "queues purge realtime --yes",
        "queues purge unknown --yes",
        f"{BROKER_AWAY}queues purge realtime --yes",
    ],
    "events": ["events", "events --orders --json", "events --since yesterday", f"{NO_BROKER}events"],
    "autoscale run": [
        "autoscale",
        "autoscale run --queue realtime --cpus 1",
        "autoscale --queue unlisted --cpus 1 --model serve.py:Model --once --dry-run",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --once --dry-run",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --min 3 --max 2",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --preset nonsense",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --target-wait 0",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --threshold -1",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --threshold 5 --target-wait 2",
        "autoscale --queue realtime --cpus 1 --model serve.py:Model --max-wait soon",
        f"{BROKER_AWAY}autoscale --queue realtime --cpus 1 --model serve.py:Model --once --dry-run",
    ],
    "autoscale simulate": [
        "autoscale simulate",
        "autoscale simulate missing.csv",
        "autoscale simulate words.csv",
        "autoscale simulate trace.csv --policy nonsense",
        "autoscale simulate trace.csv --policy static:2",
        "autoscale simulate trace.csv --cold-start 0",
        "autoscale simulate trace.csv --batch-time 1",
        "autoscale simulate trace.csv --interval inf",
    ],
    "config": [
        "config",
        "config more",
        "config --json --no-color -v -q --debug",
        "config --config missing.toml",
        "config --config unknown.toml",
        "config --config wrong.toml",
        "config --config torn.toml",
        "config --broker nonsense://host",
        "config --broker redis://:secret@localhost/0",
        "--config unknown.toml config",
    ],
    "acl": [
        "acl",
        "acl nonsense",
        "acl client",
        "acl client --format nonsense",
        "acl submitter --format file --queue batch",
        "acl worker --queue batch",
        "acl worker --user 'no user'",
        "acl worker --password-stdin",
    ],
    "values": ["values", "values queues", "values nonsense", f"{NO_BROKER}values jobs", f"{BROKER_AWAY}values queues"],
}
"""The calls of each command, in this order; some calls of other commands prepare the next ones."""


_STARTING: Final = ("up", "worker start")


def read(user: User) -> dict[str, dict[str, int]]:
    """Run every call beside a running broker, and return the exit code of each."""
    for name, text in FILES.items():
        user.write(name, text)
        (user.directory / name).chmod(0o600)
    environments = {
        NO_BROKER: {**user.environment, "XDG_STATE_HOME": str(user.directory / "alone")},
        BROKER_AWAY: {**user.environment, "MLQ_BROKER_URL": "redis://127.0.0.1:1/0"},
    }
    houses = {"": user, **{name: replace(user, environment=found) for name, found in environments.items()}}
    # Workers that start have a private state directory, and run one after another: `worker stop --all` of another
    # call would end them, and `worker logs` would find what they have left.
    own = {**user.environment, "XDG_STATE_HOME": str(user.directory / "starting")}
    starting = {**houses, "": replace(user, environment=own)}

    def run_lane(names: Sequence[str], in_houses: dict[str, User]) -> dict[str, dict[str, int]]:
        return {name: _codes(in_houses, CALLS[name]) for name in names}

    others = [name for name in CALLS if name not in _STARTING]
    with ThreadPoolExecutor(2) as both:
        lanes = [both.submit(run_lane, _STARTING, starting), both.submit(run_lane, others, houses)]
        found = dict(code for lane in lanes for code in lane.result().items())
    return {name: found[name] for name in CALLS}


def _codes(houses: dict[str, User], calls: Sequence[str]) -> dict[str, int]:
    codes: dict[str, int] = {}
    for call in calls:
        circumstances = next((c for c in (NO_BROKER, BROKER_AWAY) if call.startswith(c)), "")
        done = houses[circumstances].run(*shlex.split(call.removeprefix(circumstances)), input="")
        _check_form(call, done)
        codes[f"{call} (again)" if call in codes else call] = done.returncode
    return codes


def _check_form(call: str, done: subprocess.CompletedProcess[str]) -> None:
    """Check that a failure ends with its two lines."""
    if done.returncode:
        last = done.stderr.splitlines()[-2:]
        assert [line.partition(" ")[0] for line in last] == ["mlq:", "hint:"], (call, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, (call, done.stderr)
