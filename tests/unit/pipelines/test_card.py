from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines import schema
from pipelines.config import CardConfig
from pipelines.dataset.card import escaped, render
from pipelines.dataset.text import one_line, size_text
from pipelines.manifest import DatasetManifest, read_manifest
from tests.unit.pipelines.datasets import VERSIONS, make_dataset, pictures_of

HOSTILE = "x`y` ```\n# Head\n<script>alert(1)</script> [a](javascript:b) | c \x1b[31m *d* &amp; ````"
WORDS = CardConfig(
    title="Rain in *town*",
    description="Photographs of **streets**.",
    license="CC-BY-4.0",
    citation="@article{rain, title={Rain}}",
    url="https://example.org/rain_(2024)",
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> DatasetManifest:
    return read_manifest(make_dataset(tmp_path_factory.mktemp("card"), card=WORDS, masks=True))


def with_words(manifest: DatasetManifest, **words: str) -> DatasetManifest:
    title = words.get("title", manifest.title)
    return replace(manifest, title=title, config=manifest.config | {"card": manifest.config["card"] | words})


def test_the_card_says_what_its_author_wrote(manifest: DatasetManifest) -> None:
    card = render(manifest)
    assert card.startswith("# Rain in \\*town\\*\n\nPhotographs of **streets**.\n")
    assert "* Licence: CC-BY-4.0" in card
    assert "* Source: <https://example.org/rain_(2024)>" in card
    assert "```bibtex\n@article{rain, title={Rain}}\n```" in card


def test_the_card_counts_what_the_manifest_counts(manifest: DatasetManifest) -> None:
    card = render(manifest)
    assert re.search(r"^\| train \| 5 \| 5 \| 2 \| [\d.]+ kB \|$", card, re.M)
    assert re.search(r"^\| test \| 2 \| 2 \| 1 \| [\d.]+ kB \|$", card, re.M)
    assert "| val | 0 | 0 | 0 | 0 B |" in card
    assert manifest.fingerprint in card
    assert "Masks: one in every row" in card
    assert "Inputs set aside: 1;" in card
    assert "![Distributions by split](statistics.png)" in card
    mean = manifest.statistics["train"]["psnr_db_mean"]
    assert f"| PSNR of degraded against clean (dB) | {mean:g} (median " in card


def test_the_config_on_the_card_is_the_config(manifest: DatasetManifest) -> None:
    for words in ({}, {"description": HOSTILE, "title": HOSTILE}):
        told = with_words(manifest, **words)
        (block,) = re.findall(r"^(`{3,})yaml\n(.*?)^\1$", render(told), re.S | re.M)
        assert yaml.safe_load(block[1]) == {"data": told.config}
    assert all(f"{name} {version}" in render(manifest).replace("\\", "") for name, version in VERSIONS.items())


def test_hostile_words_stay_words(manifest: DatasetManifest) -> None:
    card = render(with_words(manifest, title=HOSTILE, license=HOSTILE, url=HOSTILE, citation=HOSTILE))
    head = card.split("\n```", 1)[0].splitlines()
    assert sum(line.startswith("# ") for line in head) == 1
    shown = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card, flags=re.S | re.M)
    assert not re.search(r"(?<!\\)<(?!https://)", shown)
    assert "\x1b" not in shown
    assert not re.search(r"(?<!\\)\]\(", shown.replace("](statistics.png)", ""))
    assert shown.count("\n## ") == 4, "no block was left open"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a b", "http://a>b", "ftp://a"])
def test_only_a_web_address_becomes_a_link(manifest: DatasetManifest, url: str) -> None:
    assert f"<{url}>" not in render(with_words(manifest, url=url))


def test_a_bare_card_says_what_is_missing(tmp_path: Path) -> None:
    card = render(read_manifest(make_dataset(tmp_path, splits={"train": 1}, card=CardConfig())))
    assert card.startswith("# Data set\n\n* Licence: not stated")
    assert "Source:" not in card
    assert "Please cite" not in card


def test_a_card_of_nothing_can_be_written(manifest: DatasetManifest) -> None:
    none = dict.fromkeys(schema.SPLITS, 0)
    assert render(replace(manifest, rows=none, pictures=none, shards=(), statistics={}))


def test_the_same_manifest_has_the_same_card(manifest: DatasetManifest) -> None:
    assert render(manifest) == render(DatasetManifest.from_json(manifest.to_json(), where="here"))


@pytest.mark.parametrize("number", range(3))
def test_the_lines_on_the_card_read_the_data_set(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = make_dataset(tmp_path)
    code = re.findall(r"```python\n(.*?)```", render(read_manifest(uri)), re.S)
    assert len(code) == 3
    monkeypatch.chdir(uri)
    names: dict[str, Any] = {}
    exec(code[number], names)
    train = names["train"]
    rows = train if isinstance(train, list) else train.to_dicts() if hasattr(train, "to_dicts") else train.to_pylist()
    keys = [row[0] if isinstance(row, tuple) else row["key"] for row in rows]
    assert sorted(keys) == [pictures_of("train", row).key for row in range(5)]


@given(st.text())
def test_escaped_text_is_one_line_of_itself(text: str) -> None:
    line = escaped(text)
    assert re.sub(r"\\([\\`*_\[\]<>|#&~!$])", r"\1", line) == one_line(text)
    assert line.isprintable()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (2**60, "1152921.5 TB")]
)
def test_sizes_are_told_in_decimal_units(size: int, text: str) -> None:
    assert size_text(size) == text
