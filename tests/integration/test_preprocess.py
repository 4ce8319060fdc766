"""The preprocessing graph on a real Ray."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from pipelines.config import PatchConfig, PreprocessConfig, SourceConfig
from pipelines.preprocess import preprocess
from pipelines.shards import PairShards
from rddm.errors import DataError, TooManyQuarantinedError
from tests.unit.pipelines.pictures import write_pairs

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


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
        for path in sorted(dataset.rglob("*.parquet"))
    }


def test_a_data_set_is_whole_honest_and_the_same_every_time(config: PreprocessConfig, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = preprocess(config, str(tmp_path / "one"), progress=lambda done, total: seen.append((done, total)))
    second = preprocess(config, str(tmp_path / "two"))
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    assert seen[-1] == (14, 14)
    assert first.rows["test"] == 2
    assert first.num_quarantined == 1
    (bad,) = (tmp_path / "one/quarantine.jsonl").read_text().splitlines()
    record = json.loads(bad)
    assert record["name"].endswith("/03")
    assert "truncated" in record["found"]
    pairs = PairShards(str(tmp_path / "one"), "test")
    assert pairs.keys == ["test/a", "test/b"]
    assert pairs.pair(0)[0].shape == (30, 70, 3), "test pictures stay whole"
    assert PairShards(str(tmp_path / "one"), "train").pair(0)[0].shape == (24, 24, 3)
    with pytest.raises(DataError, match="nothing is overwritten"):
        preprocess(config, str(tmp_path / "one"))


def test_too_much_quarantine_leaves_its_list_and_no_data_set(config: PreprocessConfig, tmp_path: Path) -> None:
    with pytest.raises(TooManyQuarantinedError, match=r"1 of 14 pairs are bad, at most 5% may be"):
        preprocess(dataclasses.replace(config, max_quarantined_share=0.05), str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["quarantine.jsonl"]
