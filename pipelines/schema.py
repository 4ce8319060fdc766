"""The table of pairs: columns, types and version."""

from __future__ import annotations

import pyarrow as pa

VERSION = 1
TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")

PAIRS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("image_key", pa.string(), nullable=False),
        pa.field("degraded_source", pa.string(), nullable=False),
        pa.field("clean_source", pa.string(), nullable=False),
        pa.field("degraded_sha256", pa.string(), nullable=False),
        pa.field("clean_sha256", pa.string(), nullable=False),
        pa.field("y_px", pa.int32(), nullable=False),
        pa.field("x_px", pa.int32(), nullable=False),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
        pa.field("bit_depth", pa.int32(), nullable=False),
        pa.field("degraded", pa.binary(), nullable=False),
        pa.field("clean", pa.binary(), nullable=False),
    ],
    metadata={"rddm.schema": "pairs", "rddm.schema_version": str(VERSION)},
)
"""One row a pair, or a patch of one.

`key` is unique; `image_key` names the picture that a patch at (`y_px`, `x_px`) was cut from, and
`..._source` its files below the source's root. `..._sha256` are hashes of the
source files (of the pixels, for a degradation made here). `degraded` and `clean` are RGB, lossless: WebP for 8 bits,
PNG for 16.
"""
