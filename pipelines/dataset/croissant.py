"""What a data set says of itself to machines: Croissant metadata, as JSON-LD.

Reference: the Croissant Format Specification, version 1.0 (MLCommons, 2024), http://mlcommons.org/croissant/1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines import schema
from pipelines.manifest import INDEX
from pipelines.ops.lossless import RAW, ZSTD

if TYPE_CHECKING:
    from pipelines.manifest import DatasetManifest, Shard

_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_PARQUET = "application/x-parquet"
_FILES, _PAIRS, _SPLITS = "shards", "pairs", "splits"
_SPLIT_URLS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
# From a file's path, or from the split's own name: mlcroissant applies it a second time to what it gave.
_SPLIT_OF_PATH = f"(?:data/)?({'|'.join(schema.SPLITS)})(?:/.*)?"
_NOT_STATED = "not stated; ask where the pictures come from"

_OWN_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _OWN_TERMS},
}

MEANINGS = {
    "key": "Unique name of the row.",
    "split": "train, val or test.",
    "image_key": "Name of the picture pair; patches of one pair share it.",
    "degraded_uri": "Source file of the degraded picture; null where the degradation was made here.",
    "clean_uri": "Source file of the clean picture.",
    "mask_uri": "Source file of the mask, where there is one.",
    "degraded_sha256": "SHA-256 of the degraded picture's file, or of its pixels where the degradation was made here.",
    "clean_sha256": "SHA-256 of the clean picture's file.",
    "mask_sha256": "SHA-256 of the mask's file, where there is one.",
    "tags": "What else is known of the pair, such as its scene.",
    "y_px": "First row of the patch in its picture; 0 for a whole picture.",
    "x_px": "First column of the patch in its picture; 0 for a whole picture.",
    "height_px": "Height of the clean picture and of the mask.",
    "width_px": "Width of the clean picture and of the mask.",
    "degraded_height_px": "Height of the degraded picture.",
    "degraded_width_px": "Width of the degraded picture.",
    "bit_depth": "Bits of a channel, 8 or 16. Some readers keep only 8 of the 16 bits of an RGB PNG.",
    "encoding": "webp, png, zstd or raw: how the three pictures stand here.",
    "degraded": "The degraded picture, RGB, lossless.",
    "clean": "The clean picture, RGB, lossless.",
    "mask": "Where the picture is degraded: 8-bit grey, lossless; null where there is none.",
}
"""What each column of `schema.PAIRS` holds, in a sentence."""


def describe(manifest: DatasetManifest) -> dict[str, Any]:
    """The metadata, as what stands in `croissant.json` beside the manifest.

    Each shard is a `FileObject` with its SHA-256; all of them are one `FileSet`, from which the record set `pairs`
    takes its fields, so that mlcroissant reads a local folder shard by shard. There is no date in it: the same data
    set has the same metadata.

    Args:
        manifest: Of the data set; what its card leaves open is filled in from the rest of it.
    """
    card = manifest.config["card"]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest.title,
        "description": card["description"] or _description(manifest),
        "conformsTo": _CONFORMS_TO,
        "license": card["license"] or _NOT_STATED,
        "citeAs": card["citation"] or f"{manifest.title}, a data set with the fingerprint {manifest.fingerprint}",
        "url": card["url"] or f"urn:sha256:{manifest.fingerprint}",
        "version": f"{manifest.schema_version}.0.0+{manifest.fingerprint[:12]}",
        "distribution": [*map(_shard, manifest.shards), _file(INDEX, manifest.index_sha256), _shards()],
        "recordSet": [_splits(manifest), _pairs(manifest)],
    }


def _description(manifest: DatasetManifest) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in manifest.pictures.items() if count)
    return f"Pairs of degraded and clean pictures: {counts or 'none'}."


def _shard(shard: Shard) -> dict[str, Any]:
    return _file(shard.path, shard.sha256) | {"contentSize": f"{shard.num_bytes} B"}


def _file(path: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "encodingFormat": _PARQUET,
        "sha256": sha256,
    }


def _shards() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": _FILES,
        "name": _FILES,
        "description": "All shards.",
        "encodingFormat": _PARQUET,
        "includes": "data/**/*.parquet",
    }


def _splits(manifest: DatasetManifest) -> dict[str, Any]:
    name, url = f"{_SPLITS}/name", f"{_SPLITS}/url"
    return {
        "@type": "cr:RecordSet",
        "@id": _SPLITS,
        "name": _SPLITS,
        "dataType": "cr:Split",
        "key": {"@id": name},
        "field": [
            {"@type": "cr:Field", "@id": name, "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": url, "name": "url", "dataType": "sc:URL"},
        ],
        "data": [{name: split, url: _SPLIT_URLS[split]} for split in schema.SPLITS if manifest.rows.get(split)],
    }


def _pairs(manifest: DatasetManifest) -> dict[str, Any]:
    encoded = manifest.config["encoding"] not in {RAW, ZSTD}  # whether a picture says itself what it is
    return {
        "@type": "cr:RecordSet",
        "@id": _PAIRS,
        "name": _PAIRS,
        "description": "One row a pair of pictures, or a patch of one.",
        "key": {"@id": f"{_PAIRS}/key"},
        "field": [_field(column, encoded=encoded) for column in schema.PAIRS],
    }


def _field(column: pa.Field, *, encoded: bool) -> dict[str, Any]:
    place = f"{_PAIRS}/{column.name}"
    field = {"@type": "cr:Field", "@id": place, "name": column.name, "description": MEANINGS[column.name]}
    if column.name == "split":
        return field | {"dataType": "sc:Text", "references": {"field": {"@id": f"{_SPLITS}/name"}}} | _from_path()
    if pa.types.is_map(column.type):
        return field | {
            "repeated": True,
            "subField": [
                {"@type": "cr:Field", "@id": f"{place}/{part}", "name": part, "dataType": "sc:Text"}
                | _from_column(column.name, {"jsonPath": f"$[{number}]"})
                for number, part in enumerate(("key", "value"))
            ],
        }
    if column.name in schema.PICTURES and not encoded:
        field["description"] += (
            " Rows of pixels without a header, 16-bit ones little-endian; where `encoding` is zstd, a Zstandard frame "
            "of each row less the one above it."
        )
    return field | {"dataType": _data_type(column, encoded=encoded)} | _from_column(column.name)


def _data_type(column: pa.Field, *, encoded: bool) -> str:
    """Croissant has no type for bytes: mlcroissant gives those of a text as they are."""
    if column.name in schema.PICTURES and encoded:
        return "sc:ImageObject"
    return "sc:Integer" if pa.types.is_integer(column.type) else "sc:Text"


def _from_column(column: str, transform: dict[str, str] | None = None) -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": _FILES}, "extract": {"column": column}}
    return {"source": source | ({"transform": transform} if transform else {})}


def _from_path() -> dict[str, Any]:
    """The split as the folder's name says it: so one split can be read without opening the others' files."""
    extract = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": _SPLIT_OF_PATH}}
    return {"source": {"fileSet": {"@id": _FILES}, **extract}}
