from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dataset.verification import Damage, verify
from pipelines.manifest import read_manifest, sha256
from tests.unit.pipelines.datasets import make_dataset

SHARD = "data/train/part-00000.parquet"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return Path(make_dataset(tmp_path))


def found_in(dataset: Path) -> list[Damage]:
    return verify(str(dataset), read_manifest(str(dataset)))


def test_a_whole_data_set_has_no_damage_and_every_shard_is_counted(dataset: Path) -> None:
    told: list[tuple[int, int, str]] = []
    manifest = read_manifest(str(dataset))
    assert verify(str(dataset), manifest, progress=lambda *step: told.append(step)) == []
    assert told == [(number + 1, 3, shard.path) for number, shard in enumerate(manifest.shards)]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (flip_a_bit, "its SHA-256 is"),
        (lambda path: os.truncate(path, 100), "it has 100 bytes of"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes of"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (lambda path: shutil.copy(path.with_name("part-00001.parquet"), path), "bytes of"),
    ],
)
def test_a_damaged_shard_is_named_with_what_to_do(dataset: Path, harm: Callable[[Path], object], found: str) -> None:
    harm(dataset / SHARD)
    (damage,) = found_in(dataset)
    assert damage.path == SHARD
    assert found in damage.found
    assert "run `rddm preprocess` again" in str(damage)


def test_a_damaged_index_is_named_and_the_shards_are_still_read(dataset: Path) -> None:
    flip_a_bit(dataset / "index.parquet")
    flip_a_bit(dataset / SHARD)
    assert [damage.path for damage in found_in(dataset)] == ["index.parquet", SHARD]


def test_a_missing_index_is_damage(dataset: Path) -> None:
    (dataset / "index.parquet").unlink()
    assert [damage.path for damage in found_in(dataset)] == ["index.parquet"]


def test_rows_that_are_not_the_index_s_are_damage(dataset: Path) -> None:
    """The hashes hold, but the index leads to other rows."""
    place = dataset / "index.parquet"
    table = pq.read_table(place)
    keys = table["key"].to_pylist()
    keys[0], keys[1] = keys[1], keys[0]
    pq.write_table(table.set_column(0, table.schema.field("key"), pa.array(keys)), place)
    values = json.loads((dataset / "manifest.json").read_text())
    values["index_sha256"] = sha256(place.read_bytes())
    (dataset / "manifest.json").write_text(json.dumps(values))
    (damage,) = found_in(dataset)
    assert damage.path == SHARD
    assert "its 3 rows are not the 3 that index.parquet names" in damage.found


def test_a_manifest_that_contradicts_itself_is_damage(dataset: Path) -> None:
    values = json.loads((dataset / "manifest.json").read_text())
    values["rows"]["train"] = 6
    values["fingerprint"] = "0" * 64
    (dataset / "manifest.json").write_text(json.dumps(values))
    assert [damage.path for damage in found_in(dataset)] == ["manifest.json", "manifest.json"]


def test_a_file_that_nobody_named_is_found_because_other_readers_would_take_it_for_data(dataset: Path) -> None:
    shutil.copy(dataset / SHARD, dataset / "data/train/part-00009.parquet")
    (dataset / "data/train/part-00000.parquet.0a1b.tmp").write_bytes(b"")
    (damage,) = found_in(dataset)
    assert damage.path == "data/train/part-00009.parquet"
    assert damage.remedy == "remove it"


def test_a_data_set_whose_files_are_gone_has_all_of_them_named(dataset: Path) -> None:
    shutil.rmtree(dataset / "data")
    assert len(found_in(dataset)) == 3
