"""Fixtures of the contract tests: the recorded contract, and the option that records it anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.contract.document import Contract, losses, read, write

_CONTRACT: Final = pytest.StashKey[Contract]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `python -m tests.contract.record` uses."""
    parser.addoption("--record-contract", choices=["additions", "everything"], help="see tests/contract/record.py")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the results of a complete recording, unless a recorded part is missing from them."""
    contract = session.config.stash.get(_CONTRACT, None)
    if contract is None or not contract.records or exitstatus:
        return
    lost = [] if session.config.getoption("--record-contract") == "everything" else _lost(contract)
    if lost:
        print("\nnot written: recorded, and found no more or changed:", *lost, sep="\n  ")  # noqa: T201
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    else:
        write(contract.found)


def _lost(contract: Contract) -> list[str]:
    return [
        path
        for section, found in contract.found.items()
        if section in contract.recorded
        for path in losses(contract.recorded[section], found, section)
    ]


@pytest.fixture(scope="session")
def contract(request: pytest.FixtureRequest) -> Contract:
    """Return the recorded contract."""
    records = request.config.getoption("--record-contract", default=None) is not None
    if records and hasattr(request.config, "workerinput"):
        raise pytest.UsageError("a contract is recorded by one process: leave out -n")
    found = Contract(read(), records=records)
    request.config.stash[_CONTRACT] = found
    return found


@pytest.fixture
def assert_as_recorded(contract: Contract) -> Callable[[str, Any], None]:
    """Compare a section with what is recorded, and show how it differs; a recording keeps it instead."""

    def check(section: str, found: Any) -> None:
        differs = contract.difference(section, found)
        if differs:
            pytest.fail(differs, pytrace=False)

    return check
