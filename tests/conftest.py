"""Environment and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.update(
    {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_USE_DATASOURCE_V2": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "OMP_NUM_THREADS": "1",
    }
)
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)

from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  # the hook finds it by name

# Shapes in signatures are checked while tests run, and cost nothing in production.
install_import_hook("rddm", "tests.typechecker.checked")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

pytest_plugins = ["tests.s3"]
REPOSITORY = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
# No deadline on busy machines; the same examples on every run.
hypothesis.settings.register_profile("rddm", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rddm")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and real pairs that lies beside the repository."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared: reference numbers and real pairs are not here")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for all tests that need it."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=400 << 20,
        log_to_driver=False,
        logging_level="error",
    )
    yield
    ray.shutdown()
