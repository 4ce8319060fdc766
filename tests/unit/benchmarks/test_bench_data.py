"""The benchmarks of the data path work; what they measure is no test."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

NAMED = {
    "bench_ingest.py": {
        "raw_over_png", "encoded_over_png", "first_batch_s", "over_best_peer_raw", "over_best_peer_encoded",
    },
    "bench_preprocess.py": {"over_plain_loop", "million_pairs_s", "peak_rss_10x_over_1x"},
}  # fmt: skip


@pytest.mark.parametrize("script", list(NAMED))
def test_a_quick_run_ends_with_one_line_of_json(script: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, f"benchmarks/{script}", "--quick", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert NAMED[script] <= results.keys()
    measured = NAMED[script] - {"over_best_peer_raw", "over_best_peer_encoded"}  # peers may not be installed
    assert all(results[name] > 0 for name in measured)
