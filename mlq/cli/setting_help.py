"""Help texts of options that mean the same as a setting: the setting's own text, so that each text exists once."""

from __future__ import annotations

from typing import Final

from mlq.settings.config import SETTINGS
from mlq.settings.parsers import SPELLINGS

_SCHEMAS: Final = {setting.dotted: setting for setting in SETTINGS}


def describe(key: str, *, default: str | None = None) -> str:
    """Return the help text of an option, such as "Seconds to keep a result (or as 5m, 2h; default 3600)."

    Args:
        key: The dotted key of the setting.
        default: The option's own default, if it differs from the setting's.
    """
    setting = _SCHEMAS[key]
    shown = setting.shown_default if default is None else default
    if not shown:
        return f"{setting.help}."
    colon = ":" if shown == setting.unset else ""  # it is a phrase, such as "no limit"
    text, separator, remark = setting.help.partition(";")
    spellings = f"{SPELLINGS[setting.parse]}; " if setting.parse in SPELLINGS else ""
    return f"{text} ({spellings}default{colon} {shown}){separator}{remark}."
