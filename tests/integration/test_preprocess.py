"""The preprocessing graph on a real Ray."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipelines import schema
from pipelines.config import PatchConfig, PreprocessConfig, SourceConfig
from pipelines.preprocess import preprocess
from pipelines.shards import PairShards
from rddm.errors import DataError, TooManyQuarantinedError
from tests.conftest import REPOSITORY
from tests.unit.pipelines.pictures import write_pairs

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
FILES = {
    "README.md", "croissant.json", "data", "index.parquet", "manifest.json", "quarantine.jsonl", "quarantine.parquet",
    "statistics.parquet", "statistics.png",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> PreprocessConfig:
    root = tmp_path / "pairs"
    write_pairs(root, [f"{n:02d}" for n in range(12)])
    write_pairs(root, ["a", "b"], split="test", size=(30, 70))
    (root / "train/low/03.png").write_bytes((root / "train/low/03.png").read_bytes()[:200])
    source = SourceConfig(root=str(root), degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    return PreprocessConfig(source=source, patch=PatchConfig(size_px=24, stride_px=16), pictures_per_shard=3)


def hashes(dataset: Path) -> dict[str, str]:
    return {
        str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file()
    }


def test_a_data_set_is_whole_honest_and_the_same_every_time(config: PreprocessConfig, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = preprocess(config, str(tmp_path / "one"), progress=lambda done, total: seen.append((done, total)))
    second = preprocess(config, str(tmp_path / "two"))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert {path.name for path in (tmp_path / "one").iterdir()} == FILES
    assert first.fingerprint == second.fingerprint
    assert seen[0] == (0, 14)
    assert seen[-1] == (14, 14)
    assert first.rows["test"] == 2
    assert first.num_quarantined == 1
    (bad,) = (tmp_path / "one/quarantine.jsonl").read_text().splitlines()
    record = json.loads(bad)
    assert record["name"].endswith("/03")
    assert "truncated" in record["found"]
    assert pq.read_table(tmp_path / "one/quarantine.parquet").to_pylist() == [record]
    pairs = PairShards(str(tmp_path / "one"), "test")
    assert list(pairs.keys) == ["test/a", "test/b"]
    assert pairs.pair(0)[0].shape == (30, 70, 3), "test pictures stay whole"
    assert PairShards(str(tmp_path / "one"), "train").pair(0)[0].shape == (24, 24, 3)
    statistics = pq.read_table(tmp_path / "one/statistics.parquet")
    assert statistics.schema.equals(schema.STATISTICS)
    assert len(statistics) == 13
    with pytest.raises(DataError, match="nothing is overwritten"):
        preprocess(config, str(tmp_path / "one"))


def test_an_archive_gives_the_same_pictures_as_its_folder(config: PreprocessConfig, tmp_path: Path) -> None:
    packed = tmp_path / "pairs.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((tmp_path / "pairs").rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to(tmp_path / "pairs"))
    subprocess.run(["tar", "-czf", tmp_path / "pairs.tar.gz", "-C", tmp_path / "pairs", "."], check=True)
    preprocess(config, str(tmp_path / "folder"))
    expected = [pq.read_table(path) for path in sorted((tmp_path / "folder/data").rglob("*.parquet"))]
    for name in ("pairs.zip", "pairs.tar.gz"):
        source = dataclasses.replace(config.source, root=str(tmp_path / name))
        out = tmp_path / f"from {name}"
        preprocess(dataclasses.replace(config, source=source), str(out))
        found = [pq.read_table(path) for path in sorted((out / "data").rglob("*.parquet"))]
        uris = ["degraded_uri", "clean_uri"]
        assert [t.drop_columns(uris) for t in found] == [t.drop_columns(uris) for t in expected]
        assert all(uri.endswith(f"::{tmp_path / name}") for uri in found[0]["clean_uri"].to_pylist())
        assert {path.name for path in out.iterdir()} == FILES


def test_too_much_quarantine_leaves_its_list_and_no_data_set(config: PreprocessConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TooManyQuarantinedError, match=r"1 of 14 pairs are bad, at most 5% may be"):
        preprocess(dataclasses.replace(config, max_quarantined_share=0.05), str(out))
    assert "truncated" in (out / "quarantine.jsonl").read_text()
    assert not (out / "manifest.json").exists()
    kept = preprocess(config, str(out))
    assert kept.num_shards_kept > 0, "what was done is not done again when the share is raised"
    whole = preprocess(config, str(tmp_path / "whole"))
    assert kept.fingerprint == whole.fingerprint
    assert hashes(out) == hashes(tmp_path / "whole")


def test_another_config_or_a_repaired_file_is_not_taken_for_the_same(config: PreprocessConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TooManyQuarantinedError):
        preprocess(dataclasses.replace(config, max_quarantined_share=0.05), str(out))
    good = (tmp_path / "pairs/train/low/02.png").read_bytes()
    (tmp_path / "pairs/train/low/03.png").write_bytes(good)  # as its record told
    repaired = preprocess(dataclasses.replace(config, max_quarantined_share=0.0), str(tmp_path / "out"))
    assert repaired.num_quarantined == 0
    assert repaired.num_shards_kept > 0
    out = tmp_path / "other"
    (tmp_path / "pairs/train/low/03.png").write_bytes(good[:200])
    with pytest.raises(TooManyQuarantinedError):
        preprocess(dataclasses.replace(config, max_quarantined_share=0.05, pictures_per_shard=1), str(out))
    (out / "data/train/part-00099.parquet").write_bytes(b"of a try with smaller shards")
    (out / "data/train/part-00000.parquet.0a1b.tmp").write_bytes(b"of a worker that was killed")
    raw = dataclasses.replace(config, encoding="raw")
    changed = preprocess(raw, str(out))
    assert changed.num_shards_kept == 0
    preprocess(raw, str(tmp_path / "whole"))
    assert hashes(out) == hashes(tmp_path / "whole"), "nothing of the other tries is left"


def test_a_shard_that_is_gone_is_not_taken_for_granted(config: PreprocessConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TooManyQuarantinedError):
        preprocess(dataclasses.replace(config, max_quarantined_share=0.05), str(out))
    kept = {name.name.split(".")[0] for name in (out / ".staging/records").iterdir()}
    shard_of(out, sorted(kept)[0]).unlink()
    with pytest.raises(DataError, match=r"is gone or has another size now; remove the folder .staging"):
        preprocess(config, str(out))


def start(config: PreprocessConfig, output: Path, address: str, *, output_uri: str = "") -> subprocess.Popen[str]:
    """A run in a process of its own, into a local folder, or into another place that is described beside it."""
    described = output.with_suffix(".json")
    described.write_bytes(TypeAdapter(PreprocessConfig).dump_json(config))
    script = "tests.integration.preprocess_run"
    arguments = [sys.executable, "-m", script, str(described), output_uri or str(output), address]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_health_check_period_ms": "1000"}
    return subprocess.Popen(
        arguments, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return report


TORN = "train-00026"
"""The shard that the torn picture would have been alone in: there is a record of it, and no file."""


def shard_of(output: Path, name: str) -> Path:
    return output / f"data/{name[:-6]}/part-{name[-5:]}.parquet"


def committed(output: Path) -> dict[str, tuple[int, int]]:
    """Shards that stand with their record, and what would change if they were written again."""
    records = output / ".staging/records"
    names = [path.name.split(".")[0] for path in records.glob("*.parquet")] if records.is_dir() else []
    stats = {name: shard_of(output, name).stat() for name in names if name != TORN}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def test_a_run_that_is_killed_ten_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    import ray

    root = tmp_path / "pairs"
    write_pairs(root, [f"{n:03d}" for n in range(66)], size=(160, 200))
    (root / "train/low/030.png").write_bytes(b"torn")
    source = SourceConfig(root=str(root), degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    config = PreprocessConfig(source=source, pictures_per_shard=1)
    address = ray.get_runtime_context().gcs_address
    out, chance = tmp_path / "out", random.Random(4)
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(10):
        process = start(config, out, address)
        wanted = len(kept) + chance.randint(1, 6)
        while len(committed(out)) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (out / "manifest.json").exists(), "killed too late to show anything"
        time.sleep(0.5)  # its tasks die a moment after it
        now = committed(out)
        assert {name: now[name] for name in kept} == kept, "what was committed is not touched again"
        kept = now
    assert len(kept) >= 10
    report = finish(start(config, out, address))
    assert report["num_shards_kept"] >= len(kept)
    stats = {name: shard_of(out, name).stat() for name in kept}
    assert {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()} == kept
    preprocess(config, str(tmp_path / "unbroken"))
    assert hashes(out) == hashes(tmp_path / "unbroken")


def test_every_machine_of_a_cluster_works_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    root = tmp_path / "pairs"
    write_pairs(root, [f"{n:03d}" for n in range(24)], size=(160, 200))
    source = SourceConfig(root=str(root), degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    config = PreprocessConfig(source=source, pictures_per_shard=1)
    report = finish(start(config, tmp_path / "two", "two-nodes"))
    assert report["num_nodes"] == 2
    preprocess(config, str(tmp_path / "one"))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
