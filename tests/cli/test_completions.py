"""The completions of TAB, in the shells themselves."""

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
"""A shell function that prints the completed line word by word, as mlq would receive it."""

STARTS = {
    "bash": (".bashrc", f"source '{FILES}/mlq.bash'\n{RECEIVE}", ["bash", "--rcfile", ".bashrc", "-i"]),
    "zsh": (
        ".zshrc",
        f"fpath=('{FILES}' $fpath); autoload -U compinit; compinit -u -D\n{RECEIVE}",
        ["zsh", "-d", "-i"],
    ),
}


def require_shell(shell: str) -> pytest.MarkDecorator:
    """Skip the test if a shell is not installed."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def split_line(line: str) -> list[str]:
    """Split a line as a shell does before it completes: after a blank there is an empty word."""
    return line.split(" ")


@pytest.fixture
def candidates(place: Path, environ: dict[str, str]) -> Callable[[str], set[str]]:
    """Return a function that asks a real bash for the completions of a line."""
    (place / "input.json").touch()

    def ask(line: str) -> set[str]:
        asked = ["bash", "--norc", "-c", COMPLETE_IN_BASH, "bash", str(FILES / "mlq.bash"), *split_line(line)]
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
@require_shell("bash")
def test_bash_offers_the_possible_words(line: str, expected: set[str], candidates: Callable[[str], set[str]]) -> None:
    """Subcommands (those of the default command, too), options after a dash, and files and names as arguments."""
    assert candidates(line) == expected


@require_shell("bash")
def test_the_name_of_a_queue_is_never_run_as_code(candidates: Callable[[str], set[str]], place: Path) -> None:
    """TAB reads the mlq.toml of a directory, which another user may have written."""
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
@pytest.mark.parametrize("shell", [pytest.param(s, marks=require_shell(s)) for s in STARTS])
def test_the_completed_line_gives_mlq_the_full_words(
    shell: str, typed: str, received: list[str], place: Path, environ: dict[str, str]
) -> None:
    """The test types the beginnings of words; mlq must receive the words."""
    file, text, command = STARTS[shell]
    (place / file).write_text(text)
    (place / "input.json").touch()
    printed = type_into_shell(command, f"mlq {typed}\n", place, {**environ, "ZDOTDIR": str(place), "TERM": "dumb"})
    assert re.findall("<(.*?)>", printed) == [*received, "END"]


def type_into_shell(command: list[str], text: str, place: Path, environ: dict[str, str]) -> str:
    """Type into a shell on a private terminal, and return what it printed."""
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
    """Read a terminal until a text appears; pytest's timeout is the deadline."""
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
@require_shell("fish")
def test_fish_offers_the_possible_words(line: str, expected: set[str], place: Path, environ: dict[str, str]) -> None:
    """The shell's own `complete -C` prints the candidates, with a description after a tab."""
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


def test_the_completion_files_match_the_command_line() -> None:
    """A change of the options or of a setting needs `make completions`."""
    checked = subprocess.run(
        [sys.executable, FILES / "generate.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


def test_check_names_the_file_that_differs(tmp_path: Path) -> None:
    """A difference is exit 1, and the message says how to fix it."""
    copy = shutil.copytree(FILES, tmp_path / "completions", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "_mlq").write_text("old\n")
    settings = tmp_path / "docs" / "settings.md"
    settings.parent.mkdir()
    settings.write_text((FILES.parent / "docs" / "settings.md").read_text().replace("| `lease` |", "| `old` |"))
    checked = subprocess.run(
        [sys.executable, copy / "generate.py", "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 1
    assert "_mlq does not match" in checked.stderr
    assert "settings.md does not match" in checked.stderr
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
def test_a_failed_completion_prints_no_error(mlq: Mlq, args: list[str]) -> None:
    """An error in the middle of a command line does not help."""
    asked = mlq("values", *args, MLQ_BROKER_URL="redis://127.0.0.1:1/0")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert set(asked.stdout.split()) <= QUEUES


def test_a_name_that_is_not_one_line_is_not_offered(mlq: Mlq, server: embedded.Server, redis: Redis) -> None:
    """For every shell one line is one name. A server may hold other names, from earlier versions and other clients."""
    no_lines = ["two\nlines", "tab\there", "carriage\rreturn", "line\u2028separator", "\x1b[31m"]
    queue_names.note(redis, ["fine", *no_lines])
    offered = mlq("values", "queues", MLQ_BROKER_URL=server.url).stdout
    assert offered == "realtime\ndefault\nbatch\nfine\n"


def test_an_invalid_configuration_gives_no_completions(mlq: Mlq, place: Path) -> None:
    """A command reports the error; completion is silent."""
    (place / "mlq.toml").write_text('queues = ["fine", "two\\nlines", "tab\\there"]\n')
    asked = mlq("values", "queues")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


def test_the_values_command_is_not_in_the_help(mlq: Mlq) -> None:
    """It is for completion scripts."""
    assert "values" not in mlq("--help").stdout


def test_the_wheel_has_the_completions_where_shells_search(tmp_path: Path) -> None:
    """`pip install mlq-cli` puts them below share/ of the environment."""
    wheels = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".data/data/")[2] for name in archive.namelist()}
    assert names >= {
        "share/bash-completion/completions/mlq",
        "share/zsh/site-functions/_mlq",
        "share/fish/vendor_completions.d/mlq.fish",
    }
