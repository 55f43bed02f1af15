"""What TAB gives, in the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from mlq.broker import embedded
from mlq.store.queues import queue_names

ROOT = Path(__file__).parents[2]
FILES = ROOT / "completions"
QUEUES = {"realtime", "default", "batch"}
Mlq = Callable[..., "subprocess.CompletedProcess[str]"]

COMPLETE_IN_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_mlq
printf '%s\\n' "${COMPREPLY[@]}"
"""

RECEIVE = """
mlq() { if [ "$1" = values ]; then command mlq "$@"; else printf '<%s>' "$@"; printf '<END>\\n'; fi; }
PS1='READY '
"""
"""In a shell with this, what TAB wrote is printed word by word, as mlq would receive it."""

STARTS = {
    "bash": (".bashrc", f"source '{FILES}/mlq.bash'\n{RECEIVE}", ["bash", "--rcfile", ".bashrc", "-i"]),
    "zsh": (
        ".zshrc",
        f"fpath=('{FILES}' $fpath); autoload -U compinit; compinit -u -D\n{RECEIVE}",
        ["zsh", "-d", "-i"],
    ),
}


def needs(shell: str) -> pytest.MarkDecorator:
    """Skip where a shell is not installed."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def split(line: str) -> list[str]:
    """Split a line as a shell does before it completes: after a blank stands an empty word."""
    return line.split(" ")


@pytest.fixture
def candidates(place: Path, environ: dict[str, str]) -> Callable[[str], set[str]]:
    """Ask a real bash what could stand at the end of a line."""
    (place / "input.json").touch()

    def ask(line: str) -> set[str]:
        asked = ["bash", "--norc", "-c", COMPLETE_IN_BASH, "bash", str(FILES / "mlq.bash"), *split(line)]
        answer = subprocess.run(asked, cwd=place, env=environ, capture_output=True, text=True, check=True, timeout=60)
        return set(answer.stdout.split("\n")) - {""}

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlq wor", {"worker"}),
        ("mlq val", set[str]()),
        ("mlq --config mlq.toml wor", {"worker"}),
        ("mlq --config = mlq.toml wor", {"worker"}),
        ("mlq worker st", {"start", "stop"}),
        ("mlq worker start --g", {"--gpus"}),
        ("mlq worker start --output ", {"raw", "classify"}),
        ("mlq acl ", {"client", "submitter", "worker"}),
        ("mlq acl client --format ", {"cli", "file"}),
        ("mlq worker start --queues ", QUEUES),
        ("mlq worker start --queues realtime,b", {"realtime,batch"}),
        ("mlq worker --wa", {"--watch"}),
        ("mlq submit --queue ", QUEUES),
        ("mlq submit --queue =", QUEUES),
        ("mlq submit --queue = re", {"realtime"}),
        ("mlq submit ", {"input.json"}),
        ("mlq submit -o inp", {"input.json"}),
        ("mlq queues ", {"ls", "pause", "resume", "purge", *QUEUES}),
        ("mlq queues ls re", {"realtime"}),
        ("mlq queues realtime ba", {"batch"}),
        ("mlq queues purge --y", {"--yes"}),
        ("mlq --broker ", set[str]()),
    ],
)
@needs("bash")
def test_bash_offers_what_may_stand_there(line: str, expected: set[str], candidates: Callable[[str], set[str]]) -> None:
    """Subcommands, those of the default one included; options after a dash; files and names where they are meant."""
    assert candidates(line) == expected


@needs("bash")
def test_the_name_of_a_queue_is_never_run(candidates: Callable[[str], set[str]], place: Path) -> None:
    """TAB reads mlq.toml, which may be in a directory that another user wrote."""
    (place / "mlq.toml").write_text("queues = ['a$(touch run)', 'b']\n")
    assert candidates("mlq submit --queue ") == {r"a\$\(touch\ run\)", "b"}
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("typed", "received"),
    [
        ("wor\tsta\t--gp\t 0", ["worker", "start", "--gpus", "0"]),
        ("submit --queue re\tinp\t", ["submit", "--queue", "realtime", "input.json"]),
        ("submit --output-file=inp\t", ["submit", "--output-file=input.json"]),
        ("queues bat\t", ["queues", "batch"]),
        ("queues pu\tbat\t--y\t", ["queues", "purge", "batch", "--yes"]),
        (
            "worker start --output cl\t--model inp\t",
            ["worker", "start", "--output", "classify", "--model", "input.json"],
        ),
        ("worker start --queues batch,re\t", ["worker", "start", "--queues", "batch,realtime"]),
    ],
)
@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in STARTS])
def test_tab_writes_what_mlq_receives(
    shell: str, typed: str, received: list[str], place: Path, environ: dict[str, str]
) -> None:
    """A person types the beginnings; the line that runs has the words."""
    file, text, command = STARTS[shell]
    (place / file).write_text(text)
    (place / "input.json").touch()
    printed = typed_into(command, f"mlq {typed}\n", place, {**environ, "ZDOTDIR": str(place), "TERM": "dumb"})
    assert re.findall("<(.*?)>", printed) == [*received, "END"]


def typed_into(command: list[str], text: str, place: Path, environ: dict[str, str]) -> str:
    """Type into a shell on a terminal of its own, and give what it printed."""
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        command, cwd=place, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        read_until(b"READY ", ours)
        os.write(ours, text.encode())
        return read_until(b"<END>", ours)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(mark: bytes, terminal: int) -> str:
    """Read a terminal until something stands there; pytest's timeout is the deadline."""
    seen = b""
    while mark not in seen:
        seen += os.read(terminal, 4096)
    return seen.decode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlq wor", {"worker"}),
        ("mlq worker start --g", {"--gpus"}),
        ("mlq worker --wa", {"--watch"}),
        ("mlq --config mlq.toml worker st", {"start", "stop"}),
        ("mlq submit --queue ", QUEUES),
        ("mlq submit inp", {"input.json"}),
        ("mlq submit -o inp", {"input.json"}),
        ("mlq queues ", {"ls", "pause", "resume", "purge", *QUEUES}),
        ("mlq queues purge ", QUEUES),
        ("mlq worker start --output ", {"raw", "classify"}),
        ("mlq worker start --queues realtime,b", {"realtime,batch"}),
    ],
)
@needs("fish")
def test_fish_offers_what_may_stand_there(line: str, expected: set[str], place: Path, environ: dict[str, str]) -> None:
    """The same, asked of fish's own `complete -C`; it prints a description after a tab."""
    (place / "input.json").touch()
    script = f"source '{FILES}/mlq.fish'; complete -C '{line}'"
    answer = subprocess.run(
        [shutil.which("fish") or "fish", "--no-config", "-c", script],
        cwd=place,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {found.partition("\t")[0] for found in answer.stdout.splitlines()} == expected


def test_the_files_fit_the_command_line() -> None:
    """Whoever adds an option runs `make completions`."""
    checked = subprocess.run(
        [sys.executable, FILES / "generate.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


def test_check_names_the_file_that_differs(tmp_path: Path) -> None:
    """Drift is exit 1, and says how it is mended."""
    copy = shutil.copytree(FILES, tmp_path / "completions", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "_mlq").write_text("old\n")
    checked = subprocess.run(
        [sys.executable, copy / "generate.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 1
    assert "_mlq does not fit" in checked.stderr
    assert "make completions" in checked.stderr


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["nonsense"],
        ["jobs"],
        ["workers"],
        ["queues", "more"],
        ["jobs", "--nonsense"],
        ["queues", "--config", "missing.toml"],
        ["queues", "--broker", "redis://:secret@host/0"],
    ],
)
def test_values_never_complain(mlq: Mlq, args: list[str]) -> None:
    """An error message in the middle of a command line would only disturb the user."""
    asked = mlq("values", *args, MLQ_BROKER_URL="redis://127.0.0.1:1/0")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert set(asked.stdout.split()) <= QUEUES


def test_a_name_that_is_not_one_line_is_not_offered(mlq: Mlq, server: embedded.Server, redis: Redis) -> None:
    """One line is one name, for every shell. A server may know other names, from earlier versions and other clients."""
    no_lines = ["two\nlines", "tab\there", "carriage\rreturn", "line\u2028separator", "\x1b[31m"]
    queue_names.note(redis, ["fine", *no_lines])
    offered = mlq("values", "queues", MLQ_BROKER_URL=server.url).stdout
    assert offered == "realtime\ndefault\nbatch\nfine\n"


def test_a_configuration_that_no_command_takes_offers_nothing(mlq: Mlq, place: Path) -> None:
    """A command says what is wrong with it; completion is silent."""
    (place / "mlq.toml").write_text('queues = ["fine", "two\\nlines", "tab\\there"]\n')
    asked = mlq("values", "queues")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


def test_values_are_not_in_the_help(mlq: Mlq) -> None:
    """They are for completion scripts."""
    assert "values" not in mlq("--help").stdout


def test_the_wheel_has_them_where_shells_look(tmp_path: Path) -> None:
    """`pip install mlq-cli` puts them under share/ of the environment."""
    wheels = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".data/data/")[2] for name in archive.namelist()}
    assert names >= {
        "share/bash-completion/completions/mlq",
        "share/zsh/site-functions/_mlq",
        "share/fish/vendor_completions.d/mlq.fish",
    }
