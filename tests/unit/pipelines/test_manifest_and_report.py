from __future__ import annotations

import re

import pytest

from pipelines.manifest import DatasetManifest, Shard, fingerprint
from pipelines.report import ReportImage, preview, render
from rddm.errors import DataError
from tests.unit.pipelines.pictures import photograph


def test_a_manifest_survives_and_another_version_is_refused() -> None:
    shards = (Shard(path="data/a.parquet", split="train", rows=2, num_bytes=9, sha256="0" * 64),)
    manifest = DatasetManifest(
        schema_version=2, title="t", fingerprint=fingerprint(shards), rows={"train": 2}, pictures={"train": 1},
        has_masks=False, shards=shards, index_sha256="1" * 64, num_quarantined=0, statistics={}, config={}, versions={},
    )  # fmt: skip
    assert DatasetManifest.from_json(manifest.to_json(), where="m.json") == manifest
    newer = manifest.to_json().replace(b'"schema_version": 2', b'"schema_version": 3')
    with pytest.raises(DataError, match="schema version 3; this release reads 2"):
        DatasetManifest.from_json(newer, where="m.json")
    with pytest.raises(DataError, match=r"m\.json is no data set's manifest"):
        DatasetManifest.from_json(b"{}", where="m.json")


def page(name: str = "a.png", reason: str = "it is truncated") -> str:
    picture = ReportImage(name, preview(photograph() // 2), preview(photograph()))
    return render(
        title="holiday.zip", model_uri="models:/demo/3", seconds=1.5, images=[picture], num_restored=1,
        quarantined=[("bad.png", reason)],
    )  # fmt: skip


def test_the_page_asks_for_nothing_outside_itself() -> None:
    html = page()
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)[^"'\s)>]""", html) == []
    assert "default-src 'none'" in html
    assert html.count("data:image/webp;base64,") == 2


def test_names_and_reasons_are_escaped() -> None:
    html = page(name="<script>alert(1)</script>.png", reason="<img src=x onerror=alert(1)>")
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_a_preview_is_bounded() -> None:
    large = ReportImage("a", b"", preview(photograph(1200, 2000)))
    assert large.size == (960, 576)
