"""Restoring an archive on a real Ray, with pictures of every kind and some that are none."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.archive import restore_archive
from pipelines.archive_config import ArchiveConfig
from pipelines.ops.codec import decode_image
from rddm.errors import ClusterError, DataError
from tests.integration.restorers import load_brighten, load_nothing
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

DARK = photograph() // 3


def rotated_grey_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(DARK[..., 0]).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


MEMBERS = {
    "holiday/1.png": encoded(DARK),
    "holiday/deep.png": encoded_16(photograph(dtype=np.uint16) // 3),
    "holiday/clear.png": encoded(np.dstack([DARK, DARK[..., 1]])),
    "grey.jpg": rotated_grey_jpeg(),
    "torn.png": encoded(DARK)[:300],
    "notes.txt": b"not a picture",
    "../escape.png": encoded(DARK),
    "odd.png": encoded(photograph(20, 13)),
    "wide.webp": encoded(photograph(20, 90) // 3, "WEBP", lossless=True),
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "pictures.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in MEMBERS.items():
            packed.writestr(name, data)
    return path


def test_what_can_be_restored_is_and_the_rest_is_named(archive: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output, actors in zip(outputs, (1, 2), strict=True):
        report = restore_archive(
            input_uri=str(archive),
            output_uri=str(output),
            load_restorer=load_brighten,
            model_uri="models:/test/1",
            config=ArchiveConfig(num_actors=actors),
            progress=lambda done, total, failed: seen.append((done, total, failed)),
        )
        assert (report.num_restored, report.num_quarantined) == (5, 4)
    assert seen[-1] == (9, 9, 4)
    one, two = ((output / "restored.zip").read_bytes() for output in outputs)
    assert one == two, "the same bytes, whatever the number of workers"

    with zipfile.ZipFile(outputs[0] / "restored.zip") as packed:
        assert packed.testzip() is None
        restored = {name: decode_image(packed.read(name), name=name) for name in packed.namelist()}
    assert list(restored) == ["holiday/1.png", "holiday/deep.png", "holiday/clear.png", "grey.jpg", "wide.webp"]
    assert {name: image.mode for name, image in restored.items()} == {
        "holiday/1.png": "RGB 8-bit",
        "holiday/deep.png": "RGB 16-bit",
        "holiday/clear.png": "RGBA 8-bit",
        "grey.jpg": "L 8-bit",
        "wide.webp": "RGB 8-bit",
    }
    assert np.array_equal(restored["holiday/1.png"].pixels, DARK * 3)
    assert np.array_equal(restored["holiday/clear.png"].alpha, DARK[..., 1])  # type: ignore[arg-type]
    assert restored["grey.jpg"].pixels.shape == (56, 40, 3), "right side up"

    rows = {row["name"]: row for row in map(json.loads, (outputs[0] / "manifest.jsonl").read_text().splitlines())}
    assert rows.keys() == MEMBERS.keys()
    assert "truncated" in rows["torn.png"]["reason"]
    assert "no picture" in rows["notes.txt"]["reason"]
    assert rows["odd.png"]["reason"] == "odd.png: the model failed on it (RuntimeError: not 13); leave it out"
    assert "leads out" in rows["../escape.png"]["reason"]
    assert pq.read_table(outputs[0] / "manifest.parquet").num_rows == 9
    names = sorted(path.name for path in outputs[0].iterdir())
    assert names == ["manifest.jsonl", "manifest.parquet", "quarantine.jsonl", "report.html", "restored.zip"]
    assert not list(tmp_path.rglob("escape.png"))


@pytest.mark.parametrize("name", ["manifest.jsonl", "restored.zip", "report.html"])
def test_nothing_is_overwritten(archive: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("somebody's own")
    with pytest.raises(DataError, match="nothing is overwritten"):
        restore_archive(
            input_uri=str(archive),
            output_uri=str(tmp_path / "out"),
            load_restorer=load_brighten,
            model_uri="m",
            config=ArchiveConfig(),
        )
    assert (tmp_path / "out" / name).read_text() == "somebody's own"


def test_actors_that_cannot_start_end_the_run_with_their_reason(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"Restoring failed in a worker: .*BundleError: models:/test/1 is damaged"):
        restore_archive(
            input_uri=str(archive),
            output_uri=str(tmp_path / "out"),
            load_restorer=load_nothing,
            model_uri="models:/test/1",
            config=ArchiveConfig(num_actors=1),
        )
    assert not list((tmp_path / "out").glob("*")), "nothing half done stays"
