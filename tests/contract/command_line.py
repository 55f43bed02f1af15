"""The command line: every command with its options and arguments, as the installed command `mlq` builds it.

The command itself is read, not its help: help is prose that changes freely, and does not say which options take a
value or which words they allow. The script `mlq` runs in an interpreter in which the group of commands returns itself
instead of parsing. So no module of mlq is named here, and modules may move.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any, Final

WORKER_MODULES: Final = ("mlq.worker", "mlq.prefork", "mlq.migrate")
"""Modules that supervisors of other versions and operators start with `python -m`."""

HIDDEN_COMMANDS: Final = ("values",)
"""Commands that no help lists: completion files of other versions call them."""

_WALK: Final = """
import json, runpy, sys
from typer.core import TyperGroup

roots = []
TyperGroup.main = lambda self, *args, **kwargs: roots.append(self)
sys.argv, hidden = sys.argv[1:2], sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass

def option_of(param):
    takes = "a number of times" if param.count else "no value" if param.is_flag else "a value"
    return {
        "spellings": sorted([*param.opts, *param.secondary_opts]),
        "takes": takes + (", repeatable" if param.multiple else ""),
        **words_of(param),
    }

def argument_of(param):
    number = "any number" if param.nargs == -1 else param.nargs
    return {"number": number, "required": param.required, **words_of(param)}

def words_of(param):
    choices, variable = getattr(param.type, "choices", None), param.envvar
    return {**({"choices": sorted(choices)} if choices else {}), **({"variable": variable} if variable else {})}

def walk(command, path, hidden):
    context = command.make_context(path, [], resilient_parsing=True)
    params = command.get_params(context)
    words = command.list_commands(context) if hasattr(command, "list_commands") else []
    options = {max(p.opts, key=len): option_of(p) for p in params if p.param_type_name == "option"}
    arguments = [argument_of(p) for p in params if p.param_type_name == "argument"]
    about = {"options": options, "arguments": arguments}
    if words and context._protected_args:
        about["default"] = context._protected_args[0]
    yield path, about
    for word in [*words, *hidden]:
        yield from walk(command.get_command(context, word), path + " " + word, [])

print(json.dumps(dict(walk(roots[0], "mlq", hidden))))
"""


def read(mlq: str) -> dict[str, Any]:
    """Walk the command line of an installed `mlq`."""
    words = [sys.executable, "-c", _WALK, mlq, *HIDDEN_COMMANDS]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    commands: dict[str, Any] = json.loads(done.stdout)
    return commands


def read_modules() -> dict[str, list[str]]:
    """List the options of the modules that are started with `python -m`, as their usage spells them."""
    return {module: _options_of(module) for module in WORKER_MODULES}


def _options_of(module: str) -> list[str]:
    words = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    usage = done.stdout.partition("\n\n")[0]
    return sorted(set(re.findall(r"\[?(--[a-z-]+(?: [A-Z_]+)?)", usage)))
