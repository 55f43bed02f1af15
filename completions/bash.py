"""mlq.bash: one function a command, no associative arrays or mapfile, so that the bash of macOS (3.2) runs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tree import Command, Value

_HEAD: Final = r"""# Bash completion for mlq. Made by completions/generate.py from the command line itself; do not edit.
# The words are in this file; only names (queues, workers, jobs) are asked of mlq, when one is wanted.

# Offer those of the given words that begin with what stands at the cursor.
_mlq_words() {
    local word
    for word in "$@"; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
}

# Offer names that exist. They are data: quoted, never expanded.
_mlq_names() {
    local name
    while IFS= read -r name; do
        [[ $name == "$current"* ]] && printf -v name %q "$name" && COMPREPLY+=("$begun$name")
    done < <(mlq values "$1" 2>/dev/null)
}

# The same for a list with commas, of which the last name is being typed.
_mlq_list() {
    local begun=
    [[ $current == *,* ]] && begun=${current%,*},
    current=${current##*,}
    compopt -o nospace 2>/dev/null
    _mlq_names "$1"
}

# Offer files: readline does it best, where compopt (bash 4) can tell it to.
_mlq_files() {
    compopt -o default 2>/dev/null && return
    local name
    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen -f -- "$current")
}
"""

_TAIL: Final = """
complete -F _mlq mlq
"""


def write(tree: Command) -> str:
    """Write the whole file."""
    functions = (_function(c) for c in tree.walk() if c is not tree)
    return _HEAD + "".join(functions) + _main(tree) + _TAIL


def _function(command: Command) -> str:
    body = _group(command) if command.commands else _leaf(command)
    return f"\n{command.function}() {{\n" + "".join(f"    {line}\n" for line in body) + "}\n"


def _leaf(command: Command, otherwise: str = "") -> Iterator[str]:
    """Complete the value of the option before the cursor, after a dash an option, otherwise what is not one."""
    yield "case $previous in"
    for action, names in _by_action(command).items():
        yield f"    {' | '.join(names)}) {action} ;;"
    yield "    *)"
    yield "        case $current in"
    yield f"            -*) _mlq_words {' '.join(command.flags)} ;;"
    rest = otherwise or "; ".join(a for a in map(_action, command.arguments) if a != ":")
    if rest:
        yield f"            *) {rest} ;;"
    yield "        esac"
    yield "        ;;"
    yield "esac"


def _group(command: Command) -> Iterator[str]:
    """Hand over to the subcommand that follows the word, else to the default one."""
    named = [c for c in command.commands if c.word != command.default]
    default = next(c for c in command.commands if c.word == command.default)
    yield "if ((COMP_CWORD == at + 1)); then"
    yield f"    _mlq_words {' '.join(c.word for c in command.commands)}"
    yield f"    {default.function}"
    yield "    return"
    yield "fi"
    yield "case ${COMP_WORDS[at + 1]} in"
    yield from (f"    {c.word}) {c.function} ;;" for c in named)
    yield f"    *) {default.function} ;;"
    yield "esac"


def _main(tree: Command) -> str:
    valued = " | ".join(_flat(o.names for o in tree.options if o.value))
    words = "".join(f"        {c.word}) {c.function} ;;\n" for c in tree.commands)
    first = "\n".join(f"    {line}" for line in _leaf(tree, f"_mlq_words {' '.join(c.word for c in tree.commands)}"))
    return f"""
_mlq_first() {{
{first}
}}

_mlq() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} begun= at
    COMPREPLY=()
    # Readline takes --queue=a for three words.
    [[ $current == = ]] && current=
    [[ $previous == = ]] && previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${{COMP_WORDS[at]}} in
            {valued}) [[ ${{COMP_WORDS[at + 1]}} == = ]] || ((at++)) ;;
            =) ((at++)) ;;
            -*) ;;
            *) break ;;
        esac
    done
    ((at < COMP_CWORD)) || {{ _mlq_first; return; }}
    case ${{COMP_WORDS[at]}} in
{words}    esac
}}
"""


def _by_action(command: Command) -> dict[str, list[str]]:
    """Group a command's options by what completes their values."""
    found: dict[str, list[str]] = {}
    for option in command.options:
        if option.value:
            found.setdefault(_action(option.value), []).extend(option.names)
    return found


def _action(value: Value) -> str:
    if value.choices:
        return "_mlq_words " + " ".join(value.choices)
    return {"file": "_mlq_files", "none": ":"}.get(value.kind, f"_mlq_{value.kind} {value.asked}")


def _flat(groups: Iterable[Iterable[str]]) -> list[str]:
    return [name for names in groups for name in names]
