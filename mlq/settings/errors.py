"""Errors of the configuration and of the state directory, by exit code."""

from __future__ import annotations

from pathlib import Path

from mlq.errors import MlqError
from mlq.exit_codes import ExitCode

# 2: wrong usage


class PasswordInArguments(MlqError):
    exit_code = ExitCode.USAGE
    message = "the URL given with {flag} contains a password, which every user of this machine can read in `ps`"
    hint = "put the URL into {variable}, into a file that {variable}_FILE names, or into the configuration file"

    flag: str
    variable: str


# 3: configuration invalid


class InvalidSetting(MlqError):
    exit_code = ExitCode.INVALID
    message = "{key} = {value!r} (from {origin}): {reason}"
    hint = "`mlq config` shows every setting, its value and where it came from"

    key: str
    value: object
    origin: str
    reason: object


class UnknownSetting(MlqError):
    exit_code = ExitCode.INVALID
    message = "unknown setting {key!r} in {origin}"
    hint = "did you mean {nearest!r}? `mlq config` lists every setting"

    key: str
    origin: object
    nearest: str


class UrlGivenTwice(MlqError):
    exit_code = ExitCode.INVALID
    message = "{key} is given twice, as a URL and as a file ({origins})"
    hint = (
        "keep only one of {key} and {file_key}. Each can also be an environment variable: for broker_url, they are "
        "MLQ_BROKER_URL and MLQ_BROKER_URL_FILE"
    )

    key: str
    origins: str
    file_key: str


class UnusableUrlFile(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot read {key} from the file {path} (from {origin}): {reason}"
    hint = "{fix}"

    key: str
    path: Path
    origin: str
    reason: object
    fix: str


class BadConfigFile(MlqError):
    exit_code = ExitCode.INVALID
    message = "cannot read the configuration file {path}: {reason}"
    hint = "correct the file, or name another file with --config FILE"

    path: Path
    reason: object


class UntrustedConfig(MlqError):
    exit_code = ExitCode.INVALID
    message = "the configuration file {path} is not used, because another user may have written it: {reason}"
    hint = "{remedy}; or run mlq as the owner of the file, or name a file of your own with --config FILE"

    path: Path
    reason: str
    remedy: str


class NoStateDirectory(MlqError):
    exit_code = ExitCode.INVALID
    message = "no directory for mlq's state (sockets, logs, the embedded broker): user id {uid} has no home directory"
    hint = "set MLQ_STATE_DIR to a directory that this user may write to, or MLQ_BROKER_URL to a running broker"

    uid: int


class UntrustedState(MlqError):
    exit_code = ExitCode.INVALID
    message = "mlq's state (sockets, logs, the embedded broker) in {path} may belong to another user: {reason}"
    hint = "{remedy}; or set MLQ_STATE_DIR to a directory that this user owns"

    path: Path
    reason: str
    remedy: str
