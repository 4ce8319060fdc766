from __future__ import annotations

import dataclasses
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import schema
from pipelines.config import CardConfig, DegradeConfig, PatchConfig, PreprocessConfig, SourceConfig
from pipelines.containers import SourceFile
from pipelines.dataset.plans import ShardPlan, plan_shards
from pipelines.manifest import Quarantined
from pipelines.ops.degrade import DEGRADATIONS, Degrade
from pipelines.ops.lossless import decode
from pipelines.ops.pairs import CheckedPair, WorkItem, checked, corners
from pipelines.sources.pairing import SourcePair
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph


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


def item_of(folder: Path, *, parts: Any = ("whole", "whole"), tags: Any = None, **files: Any) -> WorkItem:
    """A pair whose files (`degraded`, `clean`, `mask`) lie in a folder; one file of both where only `both` is given."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sides = ("both", "both") if "both" in files else ("degraded", "clean")
    degraded, clean = (
        SourceFile(side, part=part) if side in files else None for side, part in zip(sides, parts, strict=True)
    )
    mask = SourceFile("mask") if "mask" in files else None
    assert clean is not None
    pair = SourcePair(
        key="train/k", split="train", root=str(folder), degraded=degraded, clean=clean, mask=mask, tags=tags or {}
    )
    return WorkItem(pair=pair)


def rows_of(item: WorkItem, config: PreprocessConfig | None = None) -> list[dict[str, Any]]:
    result = checked(item, config or PreprocessConfig(), Degrade("gaussian_noise"))
    assert isinstance(result, CheckedPair), result
    return list(result.rows())


def pixels(row: dict[str, Any], side: str) -> Any:
    shape: tuple[int, ...] = (row["height_px"], row["width_px"])
    if side == "degraded":
        shape = (row["degraded_height_px"], row["degraded_width_px"])
    depth = 8 if side == "mask" else row["bit_depth"]
    return decode(row[side], row["encoding"], shape=shape if side == "mask" else (*shape, 3), bit_depth=depth)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"degraded": encoded(photograph(40, 50))}, "50 x 40 and 56 x 40"),
        ({"degraded": encoded(photograph())}, "both pictures are the same"),
        ({"degraded": encoded(photograph() // 2)[:100]}, "truncated"),
        ({"degraded": b""}, "0 bytes"),
        ({"degraded": encoded_16(photograph(dtype=np.uint16))}, "uint16 and uint8"),
        ({"degraded": encoded(photograph() // 2), "mask": encoded(photograph(9, 9))}, "mask has 9 x 9 pixels"),
        ({"degraded": encoded(photograph() // 2), "mask": b"x"}, "mask: it is no picture"),
        ({"degraded": encoded(photograph(15, 15) // 2), "clean": encoded(photograph(15, 15))}, "15 x 15 pixels"),
    ],
)
def test_a_bad_pair_is_quarantined_with_its_reason(tmp_path: Path, files: dict[str, bytes], found: str) -> None:
    item = item_of(tmp_path, **{"clean": encoded(photograph()), **files})
    result = checked(item, PreprocessConfig(), Degrade("blur"))
    assert isinstance(result, Quarantined)
    assert found in result.reason


def test_a_missing_file_is_quarantined(tmp_path: Path) -> None:
    item = item_of(tmp_path, degraded=b"", clean=encoded(photograph()))
    (tmp_path / "degraded").unlink()
    result = checked(item, PreprocessConfig(), Degrade("blur"))
    assert isinstance(result, Quarantined)
    assert "degraded" in result.reason


@pytest.mark.parametrize("masked", [False, True])
def test_patches_cover_the_picture_and_carry_its_pixels(tmp_path: Path, masked: bool) -> None:
    clean = photograph(50, 70)
    mask = (clean[..., 0] > 127) * np.uint8(255)
    files = {"degraded": encoded(clean // 2), "clean": encoded(clean), **({"mask": encoded(mask)} if masked else {})}
    rows = rows_of(item_of(tmp_path, **files), PreprocessConfig(patch=PatchConfig(size_px=32, stride_px=20)))
    covered = np.zeros(clean.shape[:2], bool)
    for row in rows:
        window = np.s_[row["y_px"] : row["y_px"] + 32, row["x_px"] : row["x_px"] + 32]
        assert np.array_equal(pixels(row, "clean"), clean[window])
        assert np.array_equal(pixels(row, "degraded"), clean[window] // 2)
        assert (row["mask"] is None) if not masked else np.array_equal(pixels(row, "mask"), mask[window])
        covered[window] = True
    assert covered.all()
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["image_key"] for row in rows} == {"train/k"}


@given(st.integers(1, 500), st.integers(1, 100), st.integers(1, 100))
def test_corners_cover_a_side_and_stay_inside(length: int, size: int, stride: int) -> None:
    starts = corners(length, size, min(stride, size))
    assert starts[0] == 0
    assert max(starts) + size == max(length, size)
    assert all(b - a <= size for a, b in pairwise(starts))


def test_a_row_says_where_it_comes_from(tmp_path: Path) -> None:
    clean = encoded(photograph())
    (row,) = rows_of(
        item_of(tmp_path, degraded=encoded(photograph() // 2), clean=clean, tags={"scene": "s", "id": "1"})
    )
    assert set(row) == set(schema.PAIRS.names)
    assert row["clean_uri"] == str(tmp_path / "clean")
    assert row["tags"] == [("id", "1"), ("scene", "s")]
    assert len(row["clean_sha256"]) == len(row["degraded_sha256"]) == 64
    assert row["mask_sha256"] is row["mask_uri"] is None
    (made,) = rows_of(item_of(tmp_path, clean=clean))
    assert made["degraded_uri"] is None
    assert 10 < np.std(pixels(made, "degraded").astype(float) - pixels(made, "clean")) < 30


@pytest.mark.parametrize(("width", "parts"), [(80, ("left", "right")), (81, ("right", "left"))])
def test_one_file_may_hold_both_sides(tmp_path: Path, width: int, parts: tuple[str, str]) -> None:
    both = photograph(40, width)
    (row,) = rows_of(item_of(tmp_path, parts=parts, both=encoded(both)))
    halves = {"left": both[:, :40], "right": both[:, -40:]}
    assert np.array_equal(pixels(row, "degraded"), halves[parts[0]])
    assert np.array_equal(pixels(row, "clean"), halves[parts[1]])


def test_small_degraded_pictures_are_enlarged(tmp_path: Path) -> None:
    clean = photograph(80, 64)
    small = np.asarray(Image.fromarray(clean).resize((16, 20), Image.Resampling.BICUBIC))
    item = item_of(tmp_path, degraded=encoded(small), clean=encoded(clean))
    (row,) = rows_of(item, PreprocessConfig(source=SourceConfig(degraded_scale=4)))
    assert pixels(row, "degraded").shape == clean.shape
    assert np.abs(pixels(row, "degraded").astype(int) - clean).mean() < 20
    bad = checked(item, PreprocessConfig(source=SourceConfig(degraded_scale=2)), Degrade("blur"))
    assert isinstance(bad, Quarantined)
    assert "32 x 40 and 64 x 80" in bad.found
    bomb = checked(item, PreprocessConfig(source=SourceConfig(degraded_scale=40), max_pixels=500_000), Degrade("blur"))
    assert isinstance(bomb, Quarantined)
    assert "enlarged it has 640 x 800 pixels" in bomb.found


def test_unpaired_sides_keep_their_own_sizes(tmp_path: Path) -> None:
    item = item_of(tmp_path, degraded=encoded(photograph(30, 20)), clean=encoded(photograph(40, 56)))
    config = PreprocessConfig(source=SourceConfig(kind="unpaired_folders"))
    (row,) = rows_of(item, config)
    assert pixels(row, "degraded").shape == (30, 20, 3)
    assert pixels(row, "clean").shape == (40, 56, 3)
    result = checked(item, config, Degrade("blur"))
    assert isinstance(result, CheckedPair)
    assert result.statistics().psnr_db is None


@pytest.mark.parametrize("encoding", ["webp", "png", "zstd", "raw"])
def test_the_encoding_does_not_change_a_pixel(tmp_path: Path, encoding: Any) -> None:
    clean = photograph(dtype=np.uint16)
    item = item_of(tmp_path, degraded=encoded_16(clean // 3), clean=encoded_16(clean), mask=encoded_16(clean))
    (row,) = rows_of(item, PreprocessConfig(encoding=encoding))
    assert row["bit_depth"] == 16
    assert np.array_equal(pixels(row, "clean"), clean)
    assert np.array_equal(pixels(row, "degraded"), clean // 3)
    assert np.array_equal(pixels(row, "mask"), (clean >> 8).max(axis=2))


def test_the_paper_s_protocol_resizes_and_equalises(tmp_path: Path) -> None:
    mask = (photograph()[..., 0] > 127) * np.uint8(255)
    item = item_of(tmp_path, degraded=encoded(photograph() // 4), clean=encoded(photograph()), mask=encoded(mask))
    (row,) = rows_of(item, PreprocessConfig(resize_px=32, equalise_input=True))
    assert pixels(row, "clean").shape == pixels(row, "degraded").shape == (32, 32, 3)
    assert pixels(row, "degraded").max() > 200
    assert set(np.unique(pixels(row, "mask"))) == {0, 255}


def pairs(count: int, *, degraded: bool = False) -> tuple[SourcePair, ...]:
    return tuple(
        SourcePair(
            key=f"{split}/{n}",
            split=split,
            root="r",
            degraded=SourceFile(f"d{n}.png", 10 + n) if degraded else None,
            clean=SourceFile(f"{n}.png", n),
            tags={"scene": str(n)},
        )
        for split in ("train", "val", "test")
        for n in range(count)
    )


def test_variants_multiply_training_pictures_only() -> None:
    plans = plan_shards(pairs(3), PreprocessConfig(degrade=DegradeConfig(variants=4), pictures_per_shard=5))
    items = [item for plan in plans for item in plan.items]
    assert sum(item.pair.split == "train" for item in items) == 12
    assert sum(item.pair.split == "test" for item in items) == 3
    assert len({item.key for item in items}) == len(items)
    assert all(len(plan.items) <= 5 and {item.pair.split for item in plan.items} == {plan.split} for plan in plans)


def test_a_plan_survives_its_way_to_a_worker() -> None:
    for plan in plan_shards(pairs(20, degraded=True), PreprocessConfig()):
        assert ShardPlan.from_json(plan.to_json()) == plan


def test_shards_grow_with_the_set_and_stay_within_bounds() -> None:
    for count, expected in ((1, 1), (20, 3), (1000, 67), (40_000, 157)):
        plans = [plan for plan in plan_shards(pairs(count), PreprocessConfig()) if plan.split == "test"]
        assert len(plans) == expected
        assert max(len(plan.items) for plan in plans) <= 256


def test_a_plan_s_digest_knows_what_decides_its_bytes() -> None:
    def digests(given: tuple[SourcePair, ...], **changes: Any) -> list[str]:
        return [plan.digest for plan in plan_shards(given, PreprocessConfig(pictures_per_shard=8, **changes))]

    first = pairs(20, degraded=True)
    grown = tuple(
        dataclasses.replace(pair, clean=SourceFile("0.png", 77)) if pair.key == "train/0" else pair for pair in first
    )
    assert digests(first) == digests(first, card=CardConfig(title="other"), max_quarantined_share=0.5)
    assert digests(grown)[0] != digests(first)[0]
    assert digests(grown)[1:] == digests(first)[1:], "only the shard that the file is in"
    for change in ({"seed": 1}, {"encoding": "raw"}, {"row_group_size": 3}, {"resize_px": 8}):
        assert not set(digests(first, **change)) & set(digests(first))


def test_statistics_are_the_pair_s_own(tmp_path: Path) -> None:
    clean = photograph()
    item = item_of(tmp_path, degraded=encoded(clean // 2), clean=encoded(clean))
    result = checked(item, PreprocessConfig(), Degrade("blur"))
    assert isinstance(result, CheckedPair)
    values = result.statistics()
    error = ((clean // 2).astype(float) - clean) ** 2
    assert values.psnr_db == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert values.degraded_brightness == pytest.approx((clean // 2).mean() / 255)
    assert (values.height_px, values.width_px) == (40, 56)


def test_a_grey_mask_in_a_colour_file_is_one_plane(tmp_path: Path) -> None:
    mask = np.zeros((40, 56, 3), np.uint8)
    mask[10:20, 10:20] = (255, 0, 0)
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    item = item_of(tmp_path, degraded=encoded(photograph() // 2), clean=encoded(photograph()), mask=buffer.getvalue())
    (row,) = rows_of(item)
    assert np.array_equal(pixels(row, "mask"), mask[..., 0])
