from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jobs import data
from jobs.terminal import Terminal
from pipelines.config import CardConfig
from pipelines.dataset.contact_sheet import SheetRow, contact_sheet
from pipelines.manifest import read_manifest
from rddm.errors import ConfigError, DataError
from tests.unit.pipelines.datasets import make_dataset, pictures_of

WORDS = CardConfig(title="Rain [/bold] \x1b[31m", description="[red]Streets[/red]\nand more", license="CC-BY-4.0")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def spoken() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def terminal(spoken: io.StringIO) -> Terminal:
    return Terminal(console=Console(file=spoken, width=140))


def show(
    uri: str,
    terminal: Terminal,
    *,
    output: Path | None = None,
    rows: int = 2,
    verify: bool = False,
    as_json: bool = False,
) -> None:
    data.show(uri, terminal, output=output, rows=rows, verify=verify, as_json=as_json)


def test_the_card_is_printed_and_words_are_no_markup(tmp_path: Path, terminal: Terminal, spoken: io.StringIO) -> None:
    uri = make_dataset(tmp_path, card=WORDS)
    show(uri, terminal)
    text = spoken.getvalue()
    assert "Rain [/bold] [31m" in text
    assert "[red]Streets[/red] and more" in text
    assert "\x1b" not in text
    for part in (
        "CC-BY-4.0",
        read_manifest(uri).fingerprint,
        "3 files",
        "train",
        "PSNR of degraded",
        "1 (see quarantine.jsonl)",
    ):
        assert part in text


def test_the_contact_sheet_shows_evenly_spread_pairs_of_every_split(tmp_path: Path, terminal: Terminal) -> None:
    show(make_dataset(tmp_path, masks=True), terminal, output=Path("sheet.png"), rows=3)
    shown = [("train", 0), ("train", 2), ("train", 4), ("test", 0), ("test", 1)]
    rows = [(split, pictures_of(split, number, masks=True)) for split, number in shown]
    expected = contact_sheet(
        [
            SheetRow(caption=f"{split}: {row.key}", degraded=row.degraded, clean=row.clean, mask=row.mask)
            for split, row in rows
        ]
    )
    assert np.array_equal(np.asarray(Image.open("sheet.png")), expected)


def test_nothing_is_overwritten_and_nothing_is_printed_before_that_is_known(
    tmp_path: Path, terminal: Terminal, spoken: io.StringIO
) -> None:
    uri = make_dataset(tmp_path)
    show(uri, terminal)
    before = Path("contact-sheet.png").read_bytes()
    spoken.truncate(0)
    with pytest.raises(DataError, match=r"contact-sheet\.png exists already.*--rows 0"):
        show(uri, terminal)
    assert Path("contact-sheet.png").read_bytes() == before
    assert not spoken.getvalue().strip("\0")
    show(uri, terminal, rows=0)


def test_a_sheet_that_is_no_png_is_refused(tmp_path: Path, terminal: Terminal) -> None:
    with pytest.raises(ConfigError, match=r"ends with \.png"):
        show(make_dataset(tmp_path), terminal, output=Path("sheet.jpg"))


def test_json_is_the_manifest_in_short(
    tmp_path: Path, terminal: Terminal, spoken: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = make_dataset(tmp_path, card=WORDS)
    show(uri, terminal, as_json=True)
    manifest, summary = read_manifest(uri), json.loads(capsys.readouterr().out)
    assert (summary["uri"], summary["title"], summary["license"]) == (uri, WORDS.title, WORDS.license)
    assert summary["fingerprint"] == manifest.fingerprint
    assert summary["rows"] == summary["pictures"] == {"train": 5, "val": 0, "test": 2}
    assert summary["num_bytes"] == sum(path.stat().st_size for path in Path(uri).glob("data/*/*"))
    assert summary["statistics"] == manifest.statistics
    assert (summary["contact_sheet"], summary["damage"]) == ("contact-sheet.png", None)
    assert not spoken.getvalue()


def test_verifying_a_whole_data_set_says_so(
    tmp_path: Path, terminal: Terminal, spoken: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = make_dataset(tmp_path)
    show(uri, terminal, verify=True, rows=0)
    assert "verify: 3/3" in spoken.getvalue()
    assert "(all files verified)" in spoken.getvalue()
    show(uri, terminal, verify=True, rows=0, as_json=True)
    assert json.loads(capsys.readouterr().out)["damage"] == []


def test_each_damaged_file_is_named_and_the_verb_fails(
    tmp_path: Path, terminal: Terminal, spoken: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = make_dataset(tmp_path)
    harmed = ["data/train/part-00001.parquet", "data/test/part-00000.parquet"]
    for name in harmed:
        Path(uri, name).write_bytes(b"torn")
    with pytest.raises(DataError, match=r"damaged: 2 file\(s\)"):
        show(uri, terminal, verify=True, as_json=True)
    text = " ".join(spoken.getvalue().split())
    assert all(f"damaged {name}: it has 4 bytes of" in text for name in harmed)
    assert "run `rddm preprocess` again" in text
    assert [damage["path"] for damage in json.loads(capsys.readouterr().out)["damage"]] == harmed
    assert not Path("contact-sheet.png").exists()


def test_a_damaged_shard_is_told_when_its_pictures_are_to_be_shown(tmp_path: Path, terminal: Terminal) -> None:
    uri = make_dataset(tmp_path)
    Path(uri, "data/train/part-00000.parquet").write_bytes(b"torn")
    with pytest.raises(DataError, match="part-00000"):
        show(uri, terminal)
    assert not Path("contact-sheet.png").exists()


def test_a_place_without_a_data_set_is_told(tmp_path: Path, terminal: Terminal) -> None:
    with pytest.raises(DataError, match="No data set at"):
        show(str(tmp_path), terminal)


def test_a_data_set_of_nothing_has_a_card_and_no_sheet(
    tmp_path: Path, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    show(make_dataset(tmp_path, splits={}), terminal, as_json=True)
    assert json.loads(capsys.readouterr().out)["contact_sheet"] is None
    show(make_dataset(tmp_path / "again", splits={}), terminal)
