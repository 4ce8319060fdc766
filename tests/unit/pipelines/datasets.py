"""Finished data sets that tests make by hand, without the graph."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines import manifest as records
from pipelines import schema, storage
from pipelines.config import CardConfig, Encoding, PreprocessConfig, SourceConfig
from pipelines.dataset import statistics
from pipelines.dataset.shard_writer import write_shard
from pipelines.manifest import DatasetManifest, Quarantined, Shard
from pipelines.ops import compare
from pipelines.ops.lossless import encode
from tests.unit.pipelines.pictures import photograph

SPLITS = {schema.TRAIN: 5, schema.TEST: 2}
VERSIONS = {"numpy": "2.0.0", "pyarrow": "25.0.0"}
SET_ASIDE = Quarantined(name="train/torn", found="train/low/torn.png: it is truncated")
_HEIGHT_PX, _WIDTH_PX = 40, 56
_SHARD_ROWS, _GROUP_ROWS = 3, 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """What a row of such a data set holds."""

    key: str
    degraded: NDArray[Any]
    clean: NDArray[Any]
    mask: NDArray[np.uint8] | None


def pictures_of(split: str, number: int, *, masks: bool = False, bit_depth: int = 8) -> Pictures:
    """The pictures of the row `number` of a split of `make_dataset`; no two have the same size.

    Args:
        split: `train`, `val` or `test`.
        number: From 0.
        masks: Whether there is one.
        bit_depth: 8 or 16.
    """
    dtype = np.uint16 if bit_depth == 16 else np.uint8
    seed = 100 * schema.SPLITS.index(split) + number
    clean = photograph(_HEIGHT_PX + number, _WIDTH_PX - number, dtype=dtype, seed=seed)
    mask = (clean[..., 0] > np.iinfo(dtype).max // 2).astype(np.uint8) * np.uint8(255)
    return Pictures(key=f"{split}/{number:03d}", degraded=clean // 3, clean=clean, mask=mask if masks else None)


def make_dataset(
    root: Path | str,
    *,
    encoding: Encoding = "webp",
    splits: Mapping[str, int] = SPLITS,
    masks: bool = False,
    bit_depth: int = 8,
    card: CardConfig | None = None,
) -> str:
    """Write a data set whose rows are `pictures_of`: shards of three rows, index, statistics, quarantine, manifest.

    Args:
        root: A folder or prefix; the data set lies in `dataset` below it.
        encoding: Of the pictures.
        splits: Rows of each split.
        masks: Whether each row has one.
        bit_depth: 8 or 16.
        card: What its manifest says for people.

    Returns:
        Its URI.
    """
    uri = storage.join(str(root), "dataset")
    pictures = {
        split: [pictures_of(split, number, masks=masks, bit_depth=bit_depth) for number in range(count)]
        for split, count in splits.items()
    }
    shards, index = _write_shards(uri, pictures, encoding)
    table = _statistics(pictures)
    for name, part in (("statistics.parquet", table), ("quarantine.parquet", _quarantine())):
        storage.publish_bytes(storage.join(uri, name), _parquet(part))
    storage.publish_bytes(storage.join(uri, records.INDEX), index)
    records.publish_jsonl(storage.join(uri, "quarantine.jsonl"), [asdict(SET_ASIDE)])
    config = PreprocessConfig(
        source=SourceConfig(root="pairs"),
        card=card or CardConfig(title="Pairs"),
        encoding=encoding,
        row_group_size=_GROUP_ROWS,
    )
    counts = {split: splits.get(split, 0) for split in schema.SPLITS}
    manifest = DatasetManifest(
        schema_version=schema.VERSION,
        title=config.card.title,
        fingerprint=records.fingerprint(shards),
        rows=counts,
        pictures=counts,
        has_masks=masks,
        shards=tuple(shards),
        index_sha256=records.sha256(index),
        num_quarantined=1,
        statistics=statistics.summarise(table),
        config=asdict(config),
        versions=VERSIONS,
    )
    storage.publish_bytes(storage.join(uri, records.MANIFEST), manifest.to_json())
    return uri


def _write_shards(uri: str, pictures: Mapping[str, list[Pictures]], encoding: Encoding) -> tuple[list[Shard], bytes]:
    """All shards, and the index as a file."""
    shards: list[Shard] = []
    parts = [schema.INDEX.empty_table()]
    for split, rows in pictures.items():
        for part, start in enumerate(range(0, len(rows), _SHARD_ROWS)):
            path = f"data/{split}/part-{part:05d}.parquet"
            some = (_row(row, split, encoding) for row in rows[start : start + _SHARD_ROWS])
            shard, index = _written(uri, path, split, some)
            parts.append(_numbered(index, len(shards)))
            shards.append(shard)
    return shards, _parquet(pa.concat_tables(parts))


def _written(uri: str, path: str, split: str, rows: Iterator[dict[str, Any]]) -> tuple[Shard, pa.Table]:
    written = write_shard(uri, path, split, rows, row_group_size=_GROUP_ROWS, row_group_bytes=1 << 30)
    assert written is not None
    return written


def _numbered(index: pa.Table, number: int) -> pa.Table:
    place = schema.INDEX.get_field_index("shard")
    return index.set_column(place, schema.INDEX.field("shard"), pa.array([number] * len(index), pa.int32()))


def _row(pictures: Pictures, split: str, encoding: Encoding) -> dict[str, Any]:
    height, width = pictures.clean.shape[:2]
    images = {"degraded": pictures.degraded, "clean": pictures.clean, "mask": pictures.mask}
    data = {name: None if pixels is None else encode(pixels, encoding) for name, pixels in images.items()}
    return {
        "key": pictures.key,
        "split": split,
        "image_key": pictures.key,
        **{f"{name}_uri": held and f"pairs/{name}/{pictures.key}.png" for name, held in data.items()},
        **{f"{name}_sha256": held and records.sha256(held) for name, held in data.items()},
        "tags": [("scene", pictures.key[-1])],
        "y_px": 0,
        "x_px": 0,
        "height_px": height,
        "width_px": width,
        "degraded_height_px": height,
        "degraded_width_px": width,
        "bit_depth": 16 if pictures.clean.dtype == np.uint16 else 8,
        "encoding": encoding,
        **data,
    }


def _statistics(pictures: Mapping[str, list[Pictures]]) -> pa.Table:
    rows = [
        {
            "image_key": row.key,
            "split": split,
            "height_px": row.clean.shape[0],
            "width_px": row.clean.shape[1],
            "bit_depth": 16 if row.clean.dtype == np.uint16 else 8,
            "psnr_db": compare.psnr_db(row.degraded, row.clean),
            "ssim": compare.ssim(row.degraded, row.clean),
            "degraded_brightness": compare.brightness(row.degraded),
            "clean_brightness": compare.brightness(row.clean),
        }
        for split, some in pictures.items()
        for row in some
    ]
    return pa.Table.from_pylist(rows, schema=schema.STATISTICS)


def _quarantine() -> pa.Table:
    return pa.Table.from_pylist([asdict(SET_ASIDE)], schema=schema.QUARANTINE)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
