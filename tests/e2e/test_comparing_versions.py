"""`python -m benchmarks.compare_versions` measures two versions, each in its own environment."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import compare_versions

pytestmark = pytest.mark.server


@pytest.mark.timeout(300)
def test_a_version_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure has a value for both, and one round is not enough for a verdict."""
    assert compare_versions.main([sys.prefix, sys.prefix, "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["versions"]) == {"base", "other"}
    assert len(found["figures"]) == 6
    for figure in found["figures"]:
        assert min(figure["median"].values()) > 0, figure
        assert figure["verdict"] == "needs more rounds"


def test_the_error_names_a_commit_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2: 1 would say that the version is worse."""
    assert compare_versions.main(["no-such-commit", "--quick"]) == 2
    assert "no-such-commit" in capsys.readouterr().err
