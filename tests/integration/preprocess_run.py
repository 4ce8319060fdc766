"""A preprocessing run in a process of its own, which tests may kill.

Usage: python -m tests.integration.preprocess_run CONFIG.json OUTPUT [ADDRESS]

`CONFIG.json` holds a `PreprocessConfig`; ADDRESS is a running Ray's, or `two-nodes` for a cluster of two machines on
this one.
The last line on stdout is the report as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ray
from pydantic import TypeAdapter

from pipelines.config import PreprocessConfig
from pipelines.preprocess import preprocess


def main(config_path: str, output: str, address: str) -> None:
    config = TypeAdapter(PreprocessConfig).validate_json(Path(config_path).read_bytes())
    if address == "two-nodes":
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        address = cluster.address
    ray.init(address=address, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    report = preprocess(config, output, progress=lambda done, total: print(done, total, flush=True))
    print(json.dumps(report.to_dict()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "local")
