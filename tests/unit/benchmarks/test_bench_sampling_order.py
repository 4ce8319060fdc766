"""The benchmark works; what it measures is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_a_quick_run_ends_with_one_line_of_json(shared: Path) -> None:
    weights = str(shared / "weights/ddpm_mnist.safetensors")
    command = [sys.executable, "benchmarks/bench_sampling_order.py", weights, "--quick", "--json", "--images", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert {name for name in results if name.endswith("_10")} == {
        "deterministic_10", "adams_bashforth_10", "heun_10"
    }  # fmt: skip
    assert results["heun_10"]["asked"] == 9
    assert all(0 < result["median_rms"] < 2 for result in results.values())
