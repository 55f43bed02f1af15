"""mlq config: every setting, its value and where it came from."""

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

    A flag wins over MLQ_* in the environment, that over the credentials of a systemd service, those over mlq.toml
    (or [tool.mlq] in pyproject.toml) in the nearest parent directory, that over the user's config.toml, that over the
    default. MLQ_BROKER_URL and MLQ_BROKER_URL_FILE exclude each other, and both win over CELERY_BROKER_URL. For a URL
    the sources that name another one and do not count are shown behind the one that does.
    """
    call = begin(ctx)
    call.terminal.show(tables.settings_document(call.settings), lambda: tables.settings_table(call.settings))
