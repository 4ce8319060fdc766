from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import DegradeConfig, PatchConfig, PreprocessConfig, SourceConfig
from pipelines.manifest import Quarantined
from pipelines.ops.codec import decode_lossless
from pipelines.ops.degrade import DEGRADATIONS, Degrade
from pipelines.ops.pairs import WorkItem, corners, rows_of
from pipelines.preprocess import plan_shards
from pipelines.sources import SourcePair, find_pairs
from rddm.errors import ConfigError, DataError, EmptyDatasetError
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph, write_pairs

FOLDERS = SourceConfig(root="", degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")


def config(root: Path, **changes: Any) -> PreprocessConfig:
    return PreprocessConfig(source=dataclasses.replace(FOLDERS, root=str(root)), **changes)


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_a_degradation_keeps_shape_and_type_and_is_decided_by_its_key(name: str) -> None:
    clean = photograph(64, 64)
    degrade = Degrade(name, seed=3)
    first, other, again = (degrade(clean, key=key) for key in ("a", "b", "a"))
    assert first.shape == clean.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(first, Degrade(name, seed=3)(clean, key="a"))
    assert not np.array_equal(first, clean)
    if name not in {"blur", "jpeg"}:  # those draw nothing
        assert not np.array_equal(first, other)
        assert not np.array_equal(first, Degrade(name, seed=4)(clean, key="a"))


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_strength_orders_the_damage_and_zero_is_none(name: str) -> None:
    clean = photograph(64, 64)
    errors = []
    for strength in (0.0, 0.3, 1.0):
        degraded = Degrade(name, strength=strength)(clean, key="a")
        errors.append(np.abs(degraded.astype(int) - clean).mean())
    assert errors[0] == 0 < errors[1] < errors[2]


def test_a_strength_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\]"):
        Degrade("blur", strength=1.5)


def test_pairs_join_on_keys_whatever_order_and_extension(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["10", "2", "1"])
    write_pairs(tmp_path, ["2"], split="test")
    (tmp_path / "train/high/1.png").rename(tmp_path / "train/high/1.PNG")
    found = find_pairs(config(tmp_path))
    assert [(pair.split, pair.key) for pair in found.pairs if pair.split == "test"] == [("test", "test/2")]
    assert {Path(pair.degraded or "").stem for pair in found.pairs} == {"1", "2", "10"}
    assert all(Path(pair.degraded or "").stem == Path(pair.clean).stem for pair in found.pairs)
    assert sum(pair.split == "val" for pair in found.pairs) == 1
    assert len({pair.key for pair in found.pairs}) == 4


def test_the_validation_split_does_not_move_when_others_join(tmp_path: Path) -> None:
    write_pairs(tmp_path, [str(n) for n in range(10)])
    before = {pair.clean for pair in find_pairs(config(tmp_path)).pairs if pair.split == "val"}
    write_pairs(tmp_path, ["later"], split="test")
    assert {pair.clean for pair in find_pairs(config(tmp_path)).pairs if pair.split == "val"} == before


def test_orphans_are_named(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2", "3"])
    (tmp_path / "train/high/2.png").unlink()
    (tmp_path / "train/low/3.png").unlink()
    found = find_pairs(config(tmp_path))
    assert [orphan.name for orphan in found.quarantined] == ["train/high/3.png", "train/low/2.png"]
    assert "{split}/high" in found.quarantined[1].expected


def test_split_folders_have_names_of_their_own(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2"], split="our485")
    with pytest.raises(ConfigError, match=r"'our485' is none of train, val, test; name it in data\.source"):
        find_pairs(config(tmp_path))
    named = dataclasses.replace(FOLDERS, root=str(tmp_path), split_names={"our485": "train"}, val_share=0.0)
    assert {pair.split for pair in find_pairs(PreprocessConfig(source=named)).pairs} == {"train"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"root": ""}, ConfigError, "data.source.root is empty"),
        ({"root": "missing"}, DataError, "missing does not exist"),
        ({"clean": "{split}/high/x.png"}, ConfigError, "has no {key}"),
        ({"clean": "{split}/{id}/{key}.png"}, ConfigError, "unknown field 'id'"),
        ({"clean": "{split}/nothing/{key}.png"}, EmptyDatasetError, "1 pictures have no partner"),
        ({"kind": "paired_folder"}, ConfigError, "did you mean 'paired_folders'"),
    ],
)
def test_a_source_that_gives_nothing_says_why(
    tmp_path: Path, change: dict[str, str], error: type[Exception], message: str
) -> None:
    write_pairs(tmp_path, ["1"])
    changed = dataclasses.replace(FOLDERS, **{"root": str(tmp_path), **change})  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        find_pairs(PreprocessConfig(source=changed))


def test_two_files_with_one_key_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1"])
    (tmp_path / "train/low/1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1.jpg and .*1.png both have the key '1'"):
        find_pairs(config(tmp_path))


def item_of(tmp_path: Path, degraded: bytes, clean: bytes) -> WorkItem:
    (tmp_path / "d.png").write_bytes(degraded)
    (tmp_path / "c.png").write_bytes(clean)
    return WorkItem(pair=SourcePair(key="k", split="train", degraded="d.png", clean="c.png", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("degraded", "found"),
    [
        (encoded(photograph(40, 50)), "50 x 40 and 56 x 40"),
        (encoded(photograph()), "both pictures are the same"),
        (encoded(photograph() // 2)[:100], "truncated"),
        (b"", "0 bytes"),
        (encoded_16(photograph(dtype=np.uint16)), "uint16 and uint8"),
    ],
)
def test_a_bad_pair_is_quarantined_with_its_reason(tmp_path: Path, degraded: bytes, found: str) -> None:
    item = item_of(tmp_path, degraded, encoded(photograph()))
    result = rows_of(item, PreprocessConfig(), Degrade("blur"))
    assert isinstance(result, Quarantined)
    assert found in result.reason


def test_patches_cover_the_picture_and_carry_its_pixels(tmp_path: Path) -> None:
    clean = photograph(50, 70)
    item = item_of(tmp_path, encoded(clean // 2), encoded(clean))
    rows = rows_of(item, PreprocessConfig(patch=PatchConfig(size_px=32, stride_px=20)), Degrade("blur"))
    assert isinstance(rows, list)
    covered = np.zeros(clean.shape[:2], bool)
    for row in rows:
        window = np.s_[row["y_px"] : row["y_px"] + 32, row["x_px"] : row["x_px"] + 32]
        assert np.array_equal(decode_lossless(row["clean"]), clean[window])
        assert np.array_equal(decode_lossless(row["degraded"]), clean[window] // 2)
        covered[window] = True
    assert covered.all()
    assert len({row["key"] for row in rows}) == len(rows)


@given(st.integers(1, 500), st.integers(1, 100), st.integers(1, 100))
def test_corners_cover_a_side_and_stay_inside(length: int, size: int, stride: int) -> None:
    starts = corners(length, size, min(stride, size))
    assert starts[0] == 0
    assert max(starts) + size == max(length, size)
    assert all(b - a <= size for a, b in pairwise(starts))


def test_variants_multiply_training_pictures_only() -> None:
    pairs = tuple(
        SourcePair(key=f"{split}/{n}", split=split, degraded=None, clean=f"{n}.png", root="r")
        for split in ("train", "val", "test")
        for n in range(3)
    )
    plans = plan_shards(pairs, PreprocessConfig(degrade=DegradeConfig(variants=4), pictures_per_shard=5))
    items = [item for plan in plans for item in plan.items]
    assert sum(item.pair.split == "train" for item in items) == 12
    assert sum(item.pair.split == "test" for item in items) == 3
    assert len({item.key for item in items}) == len(items)
    assert all(len(plan.items) <= 5 and {item.pair.split for item in plan.items} == {plan.split} for plan in plans)


def test_the_sample_photographs_keep_scenes_apart() -> None:
    found = find_pairs(PreprocessConfig(source=SourceConfig(kind="sample_photographs")))
    splits = {pair.key.split("/")[1]: pair.split for pair in found.pairs}
    assert splits["motorcycle_left"] == splits["motorcycle_right"]
    assert set(splits.values()) == {"train", "val", "test"}
    assert all((Path(pair.root) / pair.clean).is_file() for pair in found.pairs)


def test_a_folder_of_clean_pictures_is_degraded_here(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2"])
    source = SourceConfig(kind="clean_folder", root=str(tmp_path), clean="{split}/high/{key}.{ext}", val_share=0.0)
    (first, _) = find_pairs(PreprocessConfig(source=source)).pairs
    rows = rows_of(WorkItem(pair=first), PreprocessConfig(source=source), Degrade("gaussian_noise"))
    assert isinstance(rows, list)
    degraded, clean = (decode_lossless(rows[0][side]) for side in ("degraded", "clean"))
    assert np.array_equal(clean, photograph(seed=0))
    assert 10 < np.std(degraded.astype(float) - clean) < 30
