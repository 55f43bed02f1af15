"""_mlq: the completion of zsh, made of _arguments, with a description for each option and argument."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tree import Command, Option, Value

_HEAD: Final = r"""#compdef mlq
# Zsh completion for mlq. Made by completions/generate.py from the command line itself; do not edit.
# The words are in this file; only names (queues, workers, jobs) are asked of mlq, when one is wanted.

# Offer names that exist. compadd quotes them.
_mlq_names() {
    local kind=$1 expl
    local -a names=(${(f)"$(_call_program $kind mlq values $kind 2>/dev/null)"})
    _wanted $kind expl "${kind%s}" compadd -a "${@:2}" - names
}

# The same for a list with commas, of which the last name is being typed.
_mlq_list() {
    compset -P '*,'
    _mlq_names $1 -qS ,
}
"""

_TAIL: Final = """
_mlq "$@"
"""


def write(tree: Command) -> str:
    """Write the whole file."""
    functions = (_group(c) if c.commands else _leaf(c) for c in tree.walk() if c is not tree)
    return _HEAD + "".join(functions) + _main(tree) + _TAIL


def _leaf(command: Command) -> str:
    specs = [*map(_option, command.options), *_arguments(command)]
    return f"\n{command.function}() {{\n    _arguments -s -S{_lines(specs, 8)}\n}}\n"


def _group(command: Command) -> str:
    """Hand over to the subcommand that follows the word, else to the default one."""
    default = next(c for c in command.commands if c.word == command.default)
    named = "".join(f"        {c.word}) shift words; (( CURRENT-- )); {c.function} ;;\n" for c in command.commands)
    return f"""
{command.function}() {{
    local ret=1
    local -a commands=({_lines(map(_described, command.commands), 8, "")}
    )
    if (( CURRENT == 2 )); then
        _describe -t commands 'command' commands && ret=0
        {default.function} && ret=0
        return ret
    fi
    case $words[2] in
{named}        *) {default.function} ;;
    esac
}}
"""


def _main(tree: Command) -> str:
    specs = [*map(_option, tree.options), "'1: :->word'", "'*:: :->rest'"]
    words = "".join(f"                {c.word}) {c.function} ;;\n" for c in tree.commands)
    return f"""
_mlq() {{
    local curcontext=$curcontext state line ret=1
    local -A opt_args
    local -a commands=({_lines(map(_described, tree.commands), 8, "")}
    )
    _arguments -C -s -S{_lines(specs, 8)} && ret=0
    case $state in
        word) _describe -t commands 'command' commands && ret=0 ;;
        rest)
            case $line[1] in
{words}            esac && ret=0
            ;;
    esac
    return ret
}}
"""


def _lines(specs: Iterator[str] | list[str] | map[str], indent: int, mark: str = " \\") -> str:
    return "".join(f"{mark}\n{' ' * indent}{spec}" for spec in specs)


def _described(command: Command) -> str:
    return _quoted(f"{command.word}:{command.help}")


def _option(option: Option) -> str:
    text = f"[{_escaped(option.help)}]"
    value = f":{_escaped(option.value.label)}:{_action(option.value)}" if option.value else ""
    names = [_taking(n) if option.value else n for n in option.names]
    once = "" if option.repeatable else f"({' '.join(option.names)})"
    if len(names) == 1:
        return _quoted(f"{'*' if option.repeatable else ''}{names[0]}{text}{value}")
    return f"{_quoted('*' if option.repeatable else once)}{{{','.join(names)}}}{_quoted(text + value)}"


def _taking(name: str) -> str:
    """Mark an option that takes a value: --name VALUE or --name=VALUE, -n VALUE or -nVALUE."""
    return name + ("=" if name.startswith("--") else "+")


def _arguments(command: Command) -> Iterator[str]:
    for place, value in enumerate(command.arguments, start=1):
        yield _quoted(f"{'*' if command.many else place}:{_escaped(value.label)}:{_action(value)}")


def _action(value: Value) -> str:
    if value.choices:
        return f"({' '.join(value.choices)})"
    return {"file": "_files", "none": " "}.get(value.kind, f"{{_mlq_{value.kind} {value.asked}}}")


def _escaped(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, "\\" + character)
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
