"""The reference of data sets is true: it names every column, and its code reads a data set."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines import schema
from pipelines.config import Encoding
from pipelines.dataset import croissant
from pipelines.manifest import read_manifest
from tests.conftest import REPOSITORY
from tests.unit.pipelines.datasets import make_dataset, pictures_of

TEXT = (REPOSITORY / "docs" / "reference" / "dataset.md").read_text()
TYPES = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "double": pa.float64(), "binary": pa.binary()}
TYPES["map of string to string"] = pa.map_(pa.string(), pa.string())


@pytest.mark.parametrize("name", ["PAIRS", "INDEX", "STATISTICS", "QUARANTINE"])
def test_the_page_names_every_column_with_its_type(name: str) -> None:
    (table,) = re.findall(rf"<!-- table: {name} -->\n((?:\|.*\n)+)", TEXT)
    told: dict[str, tuple[pa.DataType, bool]] = {}
    for line in table.splitlines()[2:]:
        names, kind, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        kind, *null = kind.split(", ")
        told |= {column: (TYPES[kind], bool(null)) for column in re.findall(r"`(\w+)`", names)}
    assert told == {field.name: (field.type, field.nullable) for field in getattr(schema, name)}


@pytest.mark.parametrize(("encoding", "bit_depth"), [("webp", 8), ("png", 16), ("raw", 8), ("raw", 16)])
def test_the_page_s_code_reads_a_data_set(
    encoding: Encoding, bit_depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make_dataset(tmp_path, encoding=encoding, bit_depth=bit_depth)
    Path(uri, "croissant.json").write_text(json.dumps(croissant.describe(read_manifest(uri))))
    monkeypatch.chdir(tmp_path)
    expected = {row.key: row for row in (pictures_of("train", number, bit_depth=bit_depth) for number in range(5))}
    *readers, decoding, single, metadata = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(readers) == 3
    for reader in readers:
        names: dict[str, Any] = {}
        exec(reader + decoding, names)
        assert {row["key"] for row in names["rows"]} == set(expected)
        for row, pixels in zip(names["rows"], names["pictures"], strict=True):
            assert np.array_equal(pixels, expected[row["key"]].clean)
            assert np.array_equal(names["picture"](row, "degraded"), expected[row["key"]].degraded)
    exec(single, names)
    assert np.array_equal(names["last"], expected["train/004"].clean)
    exec(metadata, names)
    assert sorted(names["keys"]) == sorted(expected)
