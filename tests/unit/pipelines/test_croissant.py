from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import mlcroissant as mlc
import numpy as np
import pyarrow
import pytest
from PIL import Image

from pipelines import schema
from pipelines.config import CardConfig, Encoding
from pipelines.dataset import croissant
from pipelines.manifest import read_manifest
from tests.unit.pipelines.datasets import SPLITS, make_dataset, pictures_of

KEYS = {f"{split}/{number:03d}" for split, count in SPLITS.items() for number in range(count)}


def described(dataset_uri: str) -> mlc.Dataset:
    """The data set as mlcroissant sees it, its metadata written where it belongs."""
    path = Path(dataset_uri, "croissant.json")
    path.write_text(json.dumps(croissant.describe(read_manifest(dataset_uri))))
    return mlc.Dataset(jsonld=path)


@pytest.fixture(scope="module", params=["webp", "png", "zstd", "raw"])
def encoding(request: pytest.FixtureRequest) -> Encoding:
    chosen: Encoding = request.param
    return chosen


@pytest.fixture(scope="module")
def dataset_uri(encoding: Encoding, tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp(encoding), encoding=encoding, masks=encoding == "webp")


def test_mlcroissant_finds_no_error_and_misses_nothing_but_a_date(dataset_uri: str) -> None:
    issues = described(dataset_uri).metadata.ctx.issues
    assert not issues.errors
    assert [text for text in map(str, issues.warnings) if "datePublished" not in text] == []


def test_mlcroissant_reads_every_row_of_the_folder(dataset_uri: str, encoding: Encoding) -> None:
    records = list(described(dataset_uri).records("pairs"))
    assert {record["pairs/key"].decode() for record in records} == KEYS
    for record in records:
        assert set(record) == {f"pairs/{name}" for name in schema.PAIRS.names}
        split, number = record["pairs/key"].decode().split("/")
        assert record["pairs/split"].decode() == split
        assert record["pairs/tags"] == [{"pairs/tags/key": b"scene", "pairs/tags/value": number[-1].encode()}]
        expected = pictures_of(split, int(number), masks=encoding == "webp")
        assert record["pairs/height_px"] == expected.clean.shape[0]
        assert np.array_equal(pixels(record["pairs/clean"], expected.clean.shape), expected.clean)
        assert np.array_equal(pixels(record["pairs/degraded"], expected.clean.shape), expected.degraded)
        if expected.mask is None:
            assert record["pairs/mask"] is None
        else:
            assert np.array_equal(pixels(record["pairs/mask"], expected.mask.shape), expected.mask)


def pixels(value: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(value, Image.Image):
        return np.asarray(value)
    if len(value) == math.prod(shape):
        return np.frombuffer(value, np.uint8).reshape(shape)
    unpacked = pyarrow.decompress(value, math.prod(shape), codec="zstd")
    return np.cumsum(np.frombuffer(unpacked, np.uint8).reshape(shape), axis=0, dtype=np.uint8)


def test_one_split_is_read_without_the_files_of_the_others(tmp_path: Path) -> None:
    uri = make_dataset(tmp_path)
    dataset = described(uri)
    assert [record["splits/name"] for record in dataset.records("splits")] == ["train", "test"]
    for damaged in Path(uri, "data", "train").iterdir():
        damaged.write_bytes(b"torn")
    records = dataset.records("pairs", filters={"pairs/split": "test"})
    assert [record["pairs/key"] for record in records] == [b"test/000", b"test/001"]


def test_rows_without_tags_and_sources_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.pipelines import datasets

    plain = datasets._row
    monkeypatch.setattr(datasets, "_row", lambda *given: plain(*given) | {"tags": [], "degraded_uri": None})
    records = list(described(make_dataset(tmp_path)).records("pairs"))
    assert len(records) == len(KEYS)
    assert all(record["pairs/tags"] == [] and record["pairs/degraded_uri"] is None for record in records)


def test_each_file_is_named_with_its_hash_and_size(dataset_uri: str) -> None:
    metadata = croissant.describe(read_manifest(dataset_uri))
    files = [part for part in metadata["distribution"] if part["@type"] == "cr:FileObject"]
    assert {file["contentUrl"] for file in files} == {
        "index.parquet",
        *(str(path.relative_to(dataset_uri)) for path in Path(dataset_uri).glob("data/*/*.parquet")),
    }
    for file in files:
        data = Path(dataset_uri, file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file.get("contentSize", f"{len(data)} B") == f"{len(data)} B"


def test_a_damaged_hash_is_an_error_for_mlcroissant(tmp_path: Path) -> None:
    """The files are named in a way that mlcroissant can check."""
    uri = make_dataset(tmp_path)
    metadata = croissant.describe(read_manifest(uri))
    del metadata["distribution"][0]["sha256"]
    with pytest.raises(mlc.ValidationError, match="sha256"):
        mlc.Dataset(jsonld=metadata)


def test_pictures_are_images_where_they_are_encoded_and_bytes_where_they_are_not(
    dataset_uri: str, encoding: Encoding
) -> None:
    metadata = croissant.describe(read_manifest(dataset_uri))
    fields = {field["name"]: field for field in metadata["recordSet"][1]["field"]}
    assert list(fields) == schema.PAIRS.names == list(croissant.MEANINGS)
    expected = "sc:Text" if encoding in {"raw", "zstd"} else "sc:ImageObject"
    assert {fields[name]["dataType"] for name in schema.PICTURES} == {expected}
    assert fields["width_px"]["dataType"] == "sc:Integer"


def test_the_card_s_words_come_first_and_stand_ins_fill_the_gaps(tmp_path: Path) -> None:
    words = CardConfig(title="Rain", description="Streets.", license="CC-BY-4.0", citation="A. B.", url="https://a.org")
    full = croissant.describe(read_manifest(make_dataset(tmp_path / "full", card=words)))
    assert [full[name] for name in ("name", "description", "license", "citeAs", "url")] == [
        *("Rain", "Streets.", "CC-BY-4.0", "A. B.", "https://a.org")
    ]
    bare = croissant.describe(manifest := read_manifest(make_dataset(tmp_path / "bare")))
    assert bare["description"] == "Pairs of degraded and clean pictures: 5 train, 2 test."
    assert bare["url"].endswith(manifest.fingerprint)
    assert bare["license"].startswith("not stated")


def test_the_same_data_set_has_the_same_metadata_wherever_it_lies(tmp_path: Path) -> None:
    first, second = (
        json.dumps(croissant.describe(read_manifest(make_dataset(tmp_path / name)))) for name in ("here", "there")
    )
    assert first == second
    assert str(tmp_path) not in first


def test_sixteen_bits_are_declared_and_readers_are_told_that_pillow_drops_half_of_them(tmp_path: Path) -> None:
    (record,) = described(make_dataset(tmp_path, bit_depth=16, splits={"test": 1})).records("pairs")
    assert record["pairs/bit_depth"] == 16
    clean = pictures_of("test", 0, bit_depth=16).clean
    assert np.array_equal(np.asarray(record["pairs/clean"]), clean >> 8)
    assert "8 of the 16 bits" in croissant.MEANINGS["bit_depth"]
