"""The command `mlq config`: show every setting, its value and where it came from."""

from __future__ import annotations

import typer

from mlq.cli.invocation import begin, command, single
from mlq.terminal import tables

app = single()


@command(app)
def config(ctx: typer.Context) -> None:
    """Show every setting, its value and where it came from.

    \b
    Examples:
      mlq config
      mlq config --json | jq '.settings[] | select(.key == "broker_url")'

    The first source that sets a value wins: a flag, MLQ_* in the environment, the credentials of a systemd service,
    mlq.toml (or [tool.mlq] in pyproject.toml) in the nearest parent directory, the user's config.toml, the default.
    Only one of MLQ_BROKER_URL and MLQ_BROKER_URL_FILE may be set; both win over CELERY_BROKER_URL. For a URL, the
    output also lists the sources that are overridden.
    """
    call = begin(ctx)
    call.terminal.show(tables.settings_document(call.settings), lambda: tables.settings_table(call.settings))
