"""The benchmarks work; what they measure is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
KEYS = {"speedup_64", "speedup_128", "speedup_256", "train_step_speedup_128", "max_abs_diff"}


@pytest.mark.parametrize("script", ["bench_network.py", "bench_sampling.py"])
def test_a_quick_run_ends_with_one_line_of_json_and_equal_outputs(script: str) -> None:
    command = [sys.executable, f"benchmarks/{script}", "--quick", "--json", "--other", str(REPOSITORY)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.keys() == KEYS
    assert results["max_abs_diff"] <= 1e-5
    assert min(results[key] for key in KEYS - {"max_abs_diff"}) > 0
