"""The Ray that a verb runs on: the cluster it was submitted to, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import psutil

from jobs.config import ClusterConfig
from rddm.errors import ClusterUnreachableError

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_USE_DATASOURCE_V2": "0",  # the V2 Parquet reader starts dozens of actors, slow on small machines
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def prepare_environment() -> None:
    """Set what the libraries read from the environment when they are imported; what a person set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def guard_private_ray() -> None:
    """Give the private Ray of this process tree a token that nobody else knows.

    Ray reads its environment when it is imported, so this comes before that. It does nothing where a cluster is named.
    """
    if "RAY_ADDRESS" not in os.environ and "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ side notes every actor pool on stderr


@contextmanager
def ray_session(config: ClusterConfig, *, min_cpus: int = 2) -> Iterator[None]:
    """Connect to Ray for the block, unless the process is connected already.

    With `RAY_ADDRESS` set (a submitted job, or a person's choice) that cluster is used and left running. Otherwise
    a private one starts on this machine, guarded by a token that only this process tree knows, and ends with the block.

    Args:
        config: Size of the private Ray.
        min_cpus: Logical CPUs that the verb cannot do without.

    Raises:
        ClusterUnreachableError: `RAY_ADDRESS` names a cluster that does not answer, or the private one did not start.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    if address := os.environ.get("RAY_ADDRESS"):
        _connect(address)
    else:
        _start_private(config, min_cpus)
    _hush()
    try:
        yield
    finally:
        ray.shutdown()


def _hush() -> None:
    """Ray Data's own bars and notes would break ours."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=True)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterUnreachableError(
            f"No Ray cluster answers at RAY_ADDRESS={address} ({_first_line(error)}). "
            "Check `ray status`, or unset RAY_ADDRESS to run on this machine."
        ) from None


def _start_private(config: ClusterConfig, min_cpus: int) -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=max(min_cpus, config.num_cpus or psutil.cpu_count() or 1),
            object_store_memory=config.object_store_bytes,
            include_dashboard=False,
            log_to_driver=config.log_to_driver,
            logging_level="warning",
        )
    except (ConnectionError, RuntimeError, OSError, TimeoutError) as error:
        raise ClusterUnreachableError(
            f"The private Ray did not start: {_first_line(error)}. Ray {version('ray')} keeps its log below "
            "/tmp/ray/session_latest/logs; free memory, disk or ports, then run the command again."
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
