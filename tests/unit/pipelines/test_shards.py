from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import schema, shards
from pipelines.dataset.shard_writer import write_shard
from pipelines.shards import PairShards
from rddm.errors import DataError
from tests.unit.pipelines.datasets import make_dataset, pictures_of


@pytest.mark.parametrize("encoding", ["webp", "png", "zstd", "raw"])
@pytest.mark.parametrize(("masks", "bit_depth"), [(False, 8), (True, 8), (True, 16)])
def test_every_row_is_its_key_s_pictures(tmp_path: Path, encoding: Any, masks: bool, bit_depth: int) -> None:
    pairs = PairShards(
        make_dataset(tmp_path, encoding=encoding, splits={"train": 7, "test": 2}, masks=masks, bit_depth=bit_depth),
        "train",
    )
    assert len(pairs) == len(set(pairs.keys)) == 7
    assert pairs.has_masks is masks
    for index in [6, 0, 5, 5, 3]:
        expected = pictures_of("train", index, masks=masks, bit_depth=bit_depth)
        found = pairs.pictures(index)
        assert pairs.keys[index] == expected.key
        assert np.array_equal(found.clean, expected.clean)
        assert np.array_equal(found.degraded, expected.degraded)
        assert found.clean.dtype == expected.clean.dtype
        mask = pairs.mask(index)
        assert (mask is None) if expected.mask is None else np.array_equal(mask, expected.mask)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        pairs.pair(7)
    assert len(PairShards(str(tmp_path / "dataset"), "val")) == 0


def test_readers_survive_the_way_into_another_process(tmp_path: Path) -> None:
    pairs = PairShards(make_dataset(tmp_path), "train")
    first = pairs.pair(0)
    again = copy.copy(pairs)  # through __getstate__, as a loader process gets it
    assert not again._mapped._shards
    assert np.array_equal(again.pair(0)[1], first[1])
    assert list(again.keys) == list(pairs.keys)


def test_many_shards_are_read_with_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_OPEN_SHARDS", 2)
    pairs = PairShards(make_dataset(tmp_path, encoding="raw", splits={"train": 12}), "train")
    kept = [pairs.pair(index) for index in range(12)]  # views of shards that have been let go since
    for index, (degraded, clean) in enumerate(kept):
        assert np.array_equal(clean, pictures_of("train", index).clean)
        assert np.array_equal(degraded, pictures_of("train", index).degraded)
    assert len(pairs._mapped._shards) == 2


def test_the_table_is_plain_parquet_with_a_version(tmp_path: Path) -> None:
    dataset = Path(make_dataset(tmp_path, splits={"train": 7}))
    (path, *_) = sorted(dataset.glob("data/train/*.parquet"))
    file = pq.ParquetFile(path, page_checksum_verification=True)
    assert file.schema_arrow.equals(schema.PAIRS)
    assert file.schema_arrow.metadata[b"rddm.schema_version"] == b"2"
    assert file.read()["key"].to_pylist()[0] == "train/000"


def row(key: str, size: int) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(schema.PAIRS.names, "")
    numbers = {field.name: 1 for field in schema.PAIRS if str(field.type) == "int32"}
    pictures = {"degraded": b"d" * size, "clean": b"c" * size, "mask": None if size % 2 else b"m" * (size // 2)}
    return {**blank, **numbers, **pictures, "key": key, "tags": []}


def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path: Path) -> None:
    sizes = [10, 11, 12, 900, 13, 1, 0, 14]
    rows = [row(f"k{number}", size) for number, size in enumerate(sizes)]
    written = write_shard(str(tmp_path), "s.parquet", "train", iter(rows), row_group_size=3, row_group_bytes=1000)
    assert written is not None
    shard, index = written
    metadata = pq.read_metadata(tmp_path / "s.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 1, 3, 1]
    data = (tmp_path / "s.parquet").read_bytes()
    assert shard.num_bytes == len(data)
    for entry, expected in zip(index.to_pylist(), rows, strict=True):
        for name in schema.PICTURES:
            start, length = entry[f"{name}_offset"], entry[f"{name}_bytes"]
            assert (data[start : start + length] if length >= 0 else None) == expected[name]


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    assert write_shard(str(tmp_path), "s.parquet", "train", [], row_group_size=3, row_group_bytes=1000) is None
    assert list(tmp_path.iterdir()) == []


def test_no_data_set_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No data set at .*rddm preprocess"):
        PairShards(str(tmp_path), "train")
    dataset = make_dataset(tmp_path)
    cut, unlisted, gone = (shutil.copytree(dataset, tmp_path / name) for name in ("cut", "unlisted", "gone"))
    (shard, *_) = sorted(cut.glob("data/train/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match=r"part-00000.parquet is damaged: it has 50 bytes of"):
        PairShards(str(cut), "train").pair(0)
    (unlisted / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"index.parquet is damaged: its hash"):
        PairShards(str(unlisted), "train")
    shutil.rmtree(gone / "data")
    with pytest.raises(DataError, match=r"part-00000.parquet cannot be read"):
        PairShards(str(gone), "train").pair(0)
