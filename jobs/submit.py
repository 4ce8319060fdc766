"""`--submit ADDRESS`: the same command as a job on a Ray cluster, with its log and its exit code."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobs.config import RunConfig
from jobs.terminal import Terminal
from rddm.errors import ClusterUnreachableError, ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_EXCLUDES = [
    ".git",
    ".venv",
    "runs",
    "mlruns",
    "mlartifacts",
    "*.db",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    "tests",
]
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_POLL_S = 1.0


def submit(
    address: str, arguments: Sequence[str], *, config_path: Path, config: RunConfig, terminal: Terminal, follow: bool
) -> int:
    """Submit `python -m jobs ARGUMENTS` with the current folder as its working directory.

    Args:
        address: The cluster's job server, such as `http://127.0.0.1:8265`.
        arguments: The verb and its options, without `--submit` and `--follow`.
        config_path: The config file that the arguments name; it is uploaded with the folder.
        config: The run that it describes.
        terminal: Where the log goes.
        follow: Whether to stream the log and wait for the end.

    Returns:
        The job's exit code, or 0 without `follow`.

    Raises:
        ConfigError: The config lies outside the current folder, or names folders that the cluster cannot see.
        ClusterUnreachableError: No job server answers, or it refuses the token.
    """
    entrypoint = ["python", "-m", "jobs", *_portable(arguments, config_path), *_placed(address, config)]
    client = _connect(address)
    job = client.submit_job(
        entrypoint=shlex.join(entrypoint),
        runtime_env={"working_dir": str(Path.cwd()), "excludes": _EXCLUDES},
        metadata={"submitted_by": "rddm"},
    )
    terminal.say(f"Submitted {job} to {address}")
    if not follow:
        terminal.say(f"Its log: ray job logs --address {address} --follow {job}")
        return 0
    return _follow(client, job, terminal)


def _connect(address: str) -> JobSubmissionClient:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (AuthenticationError, RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ClusterUnreachableError(
            f"No Ray job server answers at {address}: {reason}. Start one with `ray start --head`, check the address "
            "and, where the cluster asks for a token, RAY_AUTH_MODE=token with RAY_AUTH_TOKEN. Nothing was submitted."
        ) from None


def _follow(client: JobSubmissionClient, job: str, terminal: Terminal) -> int:
    shown = 0
    while True:
        info: Any = client.get_job_info(job)
        log = client.get_job_logs(job)
        if len(log) > shown:
            terminal.console.print(log[shown:], end="", markup=False, soft_wrap=True)
            shown = len(log)
        if info.status.is_terminal():
            break
        time.sleep(_POLL_S)
    code = info.driver_exit_code
    terminal.say(
        f"{job} {str(info.status.value).lower()}" + (f": {info.message}" if code is None and info.message else "")
    )
    return int(code) if code is not None else int(info.status != "SUCCEEDED")


def _portable(arguments: Sequence[str], config: Path) -> list[str]:
    """The arguments with the config's path as it is inside the uploaded folder."""
    try:
        inside = config.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        raise ConfigError(
            f"--config {config} lies outside the current folder, which is what is uploaded; move it inside"
        ) from None
    return [str(inside) if word == str(config) else word for word in arguments]


def _placed(address: str, config: RunConfig) -> list[str]:
    """Local paths, made absolute: the job runs in a copy of the folder, which ends with it."""
    paths = {
        "workspace": config.workspace,
        "data.source.root": config.data.source.root,
        "restore.input_uri": config.restore.input_uri,
        "restore.output_uri": config.restore.output_uri,
        "generate.output_uri": config.generate.output_uri,
    }
    words = []
    for key, path in paths.items():
        if not path or "://" in path or Path(path).is_absolute():
            continue
        if urlsplit(address).hostname not in _LOOPBACK:
            raise ConfigError(
                f"{key} is {path!r}, a folder of this machine; a job at {address} needs s3://... or an absolute path "
                f"on storage that its nodes share. Set it with --set {key}=..."
            )
        words += ["--set", f"{key}={Path(path).resolve()}"]
    return words
