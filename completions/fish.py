"""mlq.fish: a line an option, each under the condition that the cursor stands in its command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tree import Command, Option, Value

_HEAD: Final = r"""# Fish completion for mlq. Made by completions/generate.py from the command line itself; do not edit.
# The words are in this file; only names (queues, workers, jobs) are asked of mlq, when one is wanted.
"""


def write(tree: Command) -> str:
    """Write the whole file."""
    lines = ["complete -c mlq -f", *(line for c in tree.walk() for line in _command(tree, c))]
    return _HEAD + _place(tree) + "\n" + "\n".join(lines) + "\n"


def _place(tree: Command) -> str:
    """Write the function that finds the command in which the cursor stands."""
    valued = " ".join(n for o in tree.options if o.value for n in o.names)
    groups = "".join(_default(c) for c in tree.commands if c.commands)
    return f"""
# Say in which command the cursor stands: `worker start`, `queues ls` for a bare `queues`, nothing before any word.
function __mlq_place
    set -l words (commandline -opc)
    set -e words[1]
    while string match -q -- '-*' "$words[1]"
        contains -- $words[1] {valued}; and set -e words[1]
        set -e words[1]
    end
    switch "$words[1]"
{groups}        case '*'
            echo "$words[1]"
    end
end

function __mlq_in
    test (__mlq_place) = "$argv"
end

# Whether nothing stands between a word and the cursor.
function __mlq_after
    test (commandline -opc)[-1] = "$argv"
end
"""


def _default(group: Command) -> str:
    words = " ".join(c.word for c in group.commands)
    return f"""\
        case {group.word}
            contains -- "$words[2]" {words}; or set words {group.word} {group.default}
            echo "$words[1..2]"
"""


def _command(tree: Command, command: Command) -> Iterator[str]:
    place = " ".join(command.path[1:])
    at = f"complete -c mlq -n {_quoted(f'__mlq_in {place}'.strip())}"
    yield ""
    yield f"# {' '.join(command.path)}"
    for sub in command.commands:
        after = at if command is tree else f"complete -c mlq -n {_quoted(f'__mlq_after {place}')}"
        yield f"{after} -a {sub.word} -d {_quoted(sub.help)}"
    if command.commands and command is not tree:
        return
    yield from (f"{at} {_option(o)}" for o in command.options)
    yield from (f"{at}{_value(a)}" for a in command.arguments if _value(a))


def _option(option: Option) -> str:
    names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
    return f"{names}{_required(option.value)} -d {_quoted(option.help)}"


def _required(value: Value | None) -> str:
    if value is None:
        return ""
    return (" -r" if value.kind == "file" else " -x") + _value(value)


def _value(value: Value) -> str:
    if value.choices:
        return f" -a {_quoted(' '.join(value.choices))}"
    names = f"(mlq values {value.asked} 2>/dev/null)"
    several = f'(__fish_complete_list , "mlq values {value.asked} 2>/dev/null")'
    return {"file": " -F", "names": f" -a {_quoted(names)}", "list": f" -a {_quoted(several)}"}.get(value.kind, "")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
