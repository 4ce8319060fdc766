from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.manifest import Shard
from pipelines.preprocess import WriteShard, _manifest, plan_shards
from pipelines.shards import KeyedBatchSampler, PairShards, TrainingPairs
from pipelines.sources import find_pairs
from rddm.errors import DataError, EmptyDatasetError
from tests.unit.pipelines.pictures import photograph, write_pairs


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set made by the shard writer itself, without Ray."""
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root, [f"{n:02d}" for n in range(11)])
    write_pairs(root, ["t"], split="test")
    source = SourceConfig(root=str(root), degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    config = PreprocessConfig(source=source, pictures_per_shard=4, row_group_size=3)
    output = tmp_path_factory.mktemp("dataset")
    write = WriteShard(config, str(output))
    shards = []
    for plan in plan_shards(find_pairs(config).pairs, config):
        record = write({"plan": plan.to_json()})
        shards.append(Shard(**json.loads(record["shard"])))
    (output / "manifest.json").write_bytes(_manifest(shards, 0, config).to_json())
    return str(output)


def test_every_row_is_its_key_s_pair(dataset: str) -> None:
    pairs = PairShards(dataset, "train")
    assert len(pairs) == len(set(pairs.keys)) == 10
    for index in [9, 0, 5, 5, 3]:
        degraded, clean = pairs.pair(index)
        number = int(pairs.keys[index].split("/")[1])
        assert np.array_equal(clean, photograph(seed=number))
        assert np.array_equal(degraded, clean // 3)
    with pytest.raises(IndexError):
        pairs.pair(10)


def test_the_table_is_plain_parquet_with_a_version(dataset: str) -> None:
    (path, *_) = sorted(Path(dataset).glob("data/split=train/*.parquet"))
    file = pq.ParquetFile(path)
    assert file.schema_arrow.metadata[b"rddm.schema_version"] == b"1"
    assert file.metadata.row_group(0).num_rows == 3
    assert pa.types.is_binary(file.schema_arrow.field("clean").type)


def test_no_data_set_and_a_damaged_one_are_named(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No data set at .*rddm preprocess"):
        PairShards(str(tmp_path), "train")
    shutil.copytree(dataset, tmp_path / "copy")
    (shard, *_) = (tmp_path / "copy").glob("data/split=test/*.parquet")
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match="damaged"):
        PairShards(str(tmp_path / "copy"), "test")


def test_crops_are_aligned_and_decided_by_seed_pass_and_key(dataset: str) -> None:
    pairs = PairShards(dataset, "train")
    crops = TrainingPairs(pairs, crop_px=24, seed=5)
    first, again, later = crops[2, 0], TrainingPairs(pairs, crop_px=24, seed=5)[2, 0], crops[2, 1]
    assert first["x_start"].shape == first["x_input"].shape == (3, 24, 24)
    assert torch.equal(first["x_start"], again["x_start"])
    assert not torch.equal(first["x_start"], later["x_start"])
    assert not torch.equal(first["x_start"], TrainingPairs(pairs, crop_px=24, seed=6)[2, 0]["x_start"])
    clean = ((first["x_start"] + 1) / 2 * 255).round()
    assert torch.equal(((first["x_input"] + 1) / 2 * 255).round(), clean // 3), "the same crop and flip on both"


def test_all_eight_symmetries_are_as_likely(dataset: str) -> None:
    """Not every picture is mirrored: peers' code does that by mistake."""
    pairs = PairShards(dataset, "train")
    crops, (_, clean) = TrainingPairs(pairs, crop_px=40, seed=0), pairs.pair(0)
    windows = [clean[:, x : x + 40] for x in range(clean.shape[1] - 40 + 1)]
    symmetry = {
        np.rot90(window[:, ::-1] if mirrored else window, turns).tobytes(): (mirrored, turns)
        for window in windows
        for mirrored in (False, True)
        for turns in range(4)
    }
    visits = [((crops[0, visit]["x_start"] + 1) / 2 * 255).round().byte() for visit in range(240)]
    seen = Counter(symmetry[crop.permute(1, 2, 0).contiguous().numpy().tobytes()] for crop in visits)
    assert len(seen) == 8
    assert max(seen.values()) < 3 * min(seen.values())


def test_a_small_picture_is_padded(dataset: str) -> None:
    assert TrainingPairs(PairShards(dataset, "train"), crop_px=64, seed=0)[0, 0]["x_start"].shape == (3, 64, 64)


def test_an_empty_split_is_refused(dataset: str) -> None:
    empty = PairShards(dataset, "nothing")
    with pytest.raises(EmptyDatasetError, match="training split is empty"):
        TrainingPairs(empty, crop_px=8, seed=0)


@given(
    samples=st.integers(1, 40),
    batch=st.sampled_from([12, 24]),
    world=st.sampled_from([1, 2, 3, 4, 6]),
    start=st.integers(0, 50),
)
def test_the_union_over_workers_does_not_depend_on_their_number(
    samples: int, batch: int, world: int, start: int
) -> None:
    def steps(world_size: int) -> list[list[tuple[int, int]]]:
        samplers = [
            KeyedBatchSampler(
                samples, global_batch=batch, rank=rank, world_size=world_size, seed=1, start_step=start, num_steps=3
            )
            for rank in range(world_size)
        ]
        return [sorted(position for part in step for position in part) for step in zip(*samplers, strict=True)]

    assert steps(world) == steps(1)


def test_a_pass_visits_every_row_once_and_resuming_is_immediate() -> None:
    def positions(start: int, count: int) -> list[tuple[int, int]]:
        sampler = KeyedBatchSampler(
            30, global_batch=10, rank=0, world_size=1, seed=1, start_step=start, num_steps=count
        )
        return [position for step in sampler for position in step]

    whole = positions(0, 9)
    for visit in range(3):
        assert sorted(index for index, at in whole if at == visit) == list(range(30))
    assert [index for index, at in whole if at == 0] != [index for index, at in whole if at == 1]
    assert positions(4, 5) == whole[40:]
    assert positions(10**9, 1)
