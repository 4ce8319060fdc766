"""The tables of a data set: columns, types and version."""

from __future__ import annotations

import pyarrow as pa

VERSION = 2
TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
PICTURES = ("degraded", "clean", "mask")
"""The three columns that hold pictures; the mask may be null."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


PAIRS = pa.schema(
    [
        _required("key", pa.string()),
        _required("split", pa.string()),
        _required("image_key", pa.string()),
        pa.field("degraded_uri", pa.string()),
        _required("clean_uri", pa.string()),
        pa.field("mask_uri", pa.string()),
        _required("degraded_sha256", pa.string()),
        _required("clean_sha256", pa.string()),
        pa.field("mask_sha256", pa.string()),
        _required("tags", pa.map_(pa.string(), pa.string())),
        _required("y_px", pa.int32()),
        _required("x_px", pa.int32()),
        _required("height_px", pa.int32()),
        _required("width_px", pa.int32()),
        _required("degraded_height_px", pa.int32()),
        _required("degraded_width_px", pa.int32()),
        _required("bit_depth", pa.int32()),
        _required("encoding", pa.string()),
        _required("degraded", pa.binary()),
        _required("clean", pa.binary()),
        pa.field("mask", pa.binary()),
    ],
    metadata={"rddm.schema": "pairs", "rddm.schema_version": str(VERSION)},
)
"""One row a pair, or a patch of one.

`key` is unique; `image_key` names the picture that a patch at (`y_px`, `x_px`) was cut from. `..._uri` are its source
files (fsspec's chained URIs for members of archives; null for a degradation made here), `..._sha256` their hashes (of
the pixels, for a degradation made here). `height_px` and `width_px` are the clean picture's and the mask's; the
degraded one's differ from them in unpaired data only. `degraded` and `clean` are RGB, `mask` is 8-bit grey, all
lossless: WebP, PNG, or raw rows of pixels as `encoding` says, 16-bit ones little-endian. A picture in WebP or PNG says
itself which of them it is.
"""

INDEX = pa.schema(
    [
        *(PAIRS.field(name) for name in ("key", "split", "image_key")),
        _required("shard", pa.int32()),
        *(PAIRS.field(name) for name in ("height_px", "width_px", "degraded_height_px", "degraded_width_px")),
        *(PAIRS.field(name) for name in ("bit_depth", "encoding")),
        *(_required(f"{name}_{part}", pa.int64()) for name in PICTURES for part in ("offset", "bytes")),
    ],
    metadata={"rddm.schema": "index", "rddm.schema_version": str(VERSION)},
)
"""Where each row's pictures lie: the shard's number, offset and length in its file. A missing mask has length -1."""

STATISTICS = pa.schema(
    [
        *(_required(name, pa.string()) for name in ("image_key", "split")),
        *(_required(name, pa.int32()) for name in ("height_px", "width_px", "bit_depth")),
        *(pa.field(name, pa.float64()) for name in ("psnr_db", "ssim")),
        *(_required(name, pa.float64()) for name in ("degraded_brightness", "clean_brightness")),
    ],
    metadata={"rddm.schema": "statistics", "rddm.schema_version": str(VERSION)},
)
"""One row a picture pair: PSNR and SSIM of the degraded side against the clean one, mean brightness in [0, 1]."""

QUARANTINE = pa.schema(
    [_required(name, pa.string()) for name in ("name", "found", "expected", "remedy")],
    metadata={"rddm.schema": "quarantine", "rddm.schema_version": str(VERSION)},
)
"""One row an input that was set aside, and what to do about it."""
