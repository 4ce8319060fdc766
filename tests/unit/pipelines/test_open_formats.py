"""A data set is read by pyarrow, Polars and DuckDB, its pictures by Pillow, OpenCV and NumPy: without our code."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.config import Encoding
from tests.unit.pipelines.datasets import SPLITS, make_dataset, pictures_of

Row = dict[str, Any]


def with_pyarrow(folder: Path) -> list[Row]:
    rows: list[Row] = pyarrow.dataset.dataset(folder / "data", format="parquet").to_table().to_pylist()
    return [row | {"tags": dict(row["tags"])} for row in rows]


def with_pyarrow_as_one_table(folder: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(folder / "data").to_pylist()
    return [row | {"tags": dict(row["tags"])} for row in rows]


def with_polars(folder: Path) -> list[Row]:
    return [row | {"tags": dict(row["tags"])} for row in pl.read_parquet(folder / "data/**/*.parquet").to_dicts()]


def with_duckdb(folder: Path) -> list[Row]:
    found = duckdb.read_parquet(f"{folder}/data/**/*.parquet")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


READERS = [with_pyarrow, with_pyarrow_as_one_table, with_polars, with_duckdb]


def picture(row: Row, side: str, size: tuple[int, ...]) -> Any:
    """As the reference page tells it."""
    data = row[side]
    if row["encoding"] == "zstd":
        deep = row["bit_depth"] == 16 and side != "mask"
        unpacked = pyarrow.decompress(data, math.prod(size) * (2 if deep else 1), codec="zstd")
        kind = np.dtype("<u2" if deep else "u1")
        return np.cumsum(np.frombuffer(unpacked, kind).reshape(size), axis=0, dtype=kind)
    if row["encoding"] == "raw":
        return np.frombuffer(data, "<u2" if row["bit_depth"] == 16 and side != "mask" else "u1").reshape(size)
    if row["bit_depth"] == 16 and side != "mask":
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("encoding", "bit_depth"), [("webp", 8), ("webp", 16), ("png", 8), ("raw", 8), ("raw", 16), ("zstd", 16)]
)
def test_every_row_and_every_pixel_is_read(
    read: Callable[[Path], list[Row]], encoding: Encoding, bit_depth: int, tmp_path: Path
) -> None:
    uri = make_dataset(tmp_path, encoding=encoding, bit_depth=bit_depth, masks=True)
    rows = read(Path(uri))
    assert len(rows) == sum(SPLITS.values())
    for row in rows:
        split, number = row["key"].split("/")
        assert row["split"] == split
        assert row["tags"] == {"scene": number[-1]}
        expected = pictures_of(split, int(number), masks=True, bit_depth=bit_depth)
        assert expected.mask is not None
        size = (row["height_px"], row["width_px"])
        assert np.array_equal(picture(row, "mask", size), expected.mask)
        assert np.array_equal(picture(row, "clean", (*size, 3)), expected.clean)
        degraded = (row["degraded_height_px"], row["degraded_width_px"], 3)
        assert np.array_equal(picture(row, "degraded", degraded), expected.degraded)


@pytest.mark.parametrize("name", ["statistics.parquet", "quarantine.parquet", "index.parquet"])
def test_the_other_tables_are_read_too(name: str, tmp_path: Path) -> None:
    path = f"{make_dataset(tmp_path)}/{name}"
    expected = pq.read_table(path)
    assert pl.read_parquet(path).to_dicts() == expected.to_pylist()
    assert duckdb.read_parquet(path).fetchall() == [tuple(row.values()) for row in expected.to_pylist()]


def test_the_index_leads_to_the_bytes_of_each_picture(tmp_path: Path) -> None:
    folder = Path(make_dataset(tmp_path, masks=True))
    shards = sorted(folder.glob("data/train/*")) + sorted(folder.glob("data/test/*"))
    for row in pq.read_table(folder / "index.parquet").to_pylist():
        data = shards[row["shard"]].read_bytes()
        for side in ("degraded", "clean", "mask"):
            start = row[f"{side}_offset"]
            image = Image.open(io.BytesIO(data[start : start + row[f"{side}_bytes"]]))
            assert image.size == (row["width_px"], row["height_px"])
