"""The detection of packages that are replaced while a supervisor runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mlq.supervisor.installation import SETTLED_S, Installation


def test_nothing_has_changed_until_a_package_is_installed_or_removed(tmp_path: Path) -> None:
    """The supervisor runs the packages that were installed before its start."""
    (tmp_path / "celery").mkdir()
    installation = Installation([tmp_path])
    assert not installation.is_in_flux()
    (tmp_path / "celery").rmdir()
    assert installation.is_in_flux()
    assert not installation.is_replaced(), "mlq's own files are as they were"


def test_an_upgrade_is_over_when_no_package_has_changed_for_a_while(tmp_path: Path) -> None:
    """If a package is still missing then, the worker is given up."""
    installation = Installation([tmp_path], now=lambda: time.time() + SETTLED_S)
    (tmp_path / "redis").mkdir()
    assert not installation.is_in_flux()


def test_an_environment_that_was_removed_is_in_flux(tmp_path: Path) -> None:
    """It may be moved back, or built again at the same path."""
    place = tmp_path / "site-packages"
    place.mkdir()
    installation = Installation([place])
    place.rmdir()
    assert installation.is_in_flux()
    place.mkdir()
    os.utime(place, (0, 0))
    assert not installation.is_in_flux()
