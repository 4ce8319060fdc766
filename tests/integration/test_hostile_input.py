"""Hostile input through the whole path: named, with a reason, in bounded memory, and nothing written outside."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from pydantic import TypeAdapter

from pipelines.config import PreprocessConfig
from pipelines.ops import pairs
from pipelines.preprocess import preprocess
from pipelines.shards import PairShards
from rddm.errors import DataError, StorageUnreachableError
from tests.conftest import REPOSITORY
from tests.integration.hostile_run import make
from tests.unit.pipelines.archives import END, FLAGS, SIZE, header, in_directory, member, pax, zip_info, zipped
from tests.unit.pipelines.hostile_pictures import (
    MAX_PIXELS,
    PICTURES,
    SMALL,
    Expected,
    config_of,
    tiff,
    write_good,
    write_hostile,
    write_strip,
)
from tests.unit.pipelines.pictures import encoded

MOST_MEGABYTES = 3 * MAX_PIXELS * 3 * 3 / 1e6
"""Three planes of three channels, three times over: what one honest picture of so many pixels takes to decode."""
MOST_SECONDS = 15
Said = list[tuple[str, str]]


def state_of(folder: Path, output: Path) -> dict[str, tuple[int, ...]]:
    """All that lies in a folder, the output aside, and what would change if something were done to it."""
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_relative_to(output))]
    states = {str(path): path.lstat() for path in paths}
    found: dict[str, tuple[int, ...]] = {
        name: (state.st_mode, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states.items()
    }
    return found | {str(folder): ()}  # the output appears in it


def require_said(said: Said, expected: dict[str, str]) -> None:
    """Each name is there, with the reason that was expected and nothing that only programmers understand."""
    reasons = dict(said)
    assert len(reasons) == len(said), "each is named once"
    assert reasons.keys() == expected.keys()
    for name, reason in said:
        assert re.search(expected[name], reason), (name, reason)
        assert name.isprintable(), name
        assert reason.isprintable(), reason
        assert "expected" in reason
        assert not re.search(r"Traceback|object at 0x|\w+Error\b", reason), reason


def in_a_process(*jobs: tuple[str, PreprocessConfig, Path]) -> list[dict[str, Any]]:
    """The results of `hostile_run`, one a job."""
    arguments = []
    for number, (kind, config, output) in enumerate(jobs):
        described = output.parent / f"{number}.json"
        described.write_bytes(TypeAdapter(PreprocessConfig).dump_json(config))
        arguments += [kind, str(described), str(output)]
    command = [sys.executable, "-W", "error", "-m", "tests.integration.hostile_run", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_hostile_files_are_set_aside_and_the_rest_becomes_a_data_set(tmp_path: Path) -> None:
    root, output = tmp_path / "in/pairs", tmp_path / "out"
    expected = write_hostile(root)
    strips = {write_strip(root, height) for height in (20, 48)}
    before = state_of(tmp_path, output)
    report = preprocess(config_of(root), str(output))
    assert state_of(tmp_path, output) == before
    lines = (output / "quarantine.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    said = [(r["name"], f"{r['found']}; expected {r['expected']}; {r['remedy']}") for r in records]
    require_said(said, expected.pairs | expected.files)
    assert report.num_quarantined == len(lines) >= 75
    assert report.rows["train"] == len(expected.good | strips)
    assert set(PairShards(str(output), "train").keys) == expected.good | strips
    assert {path.name for path in output.iterdir()}.isdisjoint({".staging"})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Expected, list[dict[str, Any]]]:
    """The same work on good pairs alone and with hostile ones beside them."""
    folder = tmp_path_factory.mktemp("measured")
    good, bad = folder / "good", folder / "bad"
    write_good(good)
    expected = write_hostile(bad)
    (folder / "out").mkdir()
    jobs = [(kind, config_of(root), folder / "out" / f"{kind} {root.name}") for kind in ("make", "diagnose")
            for root in (good, bad)]  # fmt: skip
    before = state_of(folder, folder / "out")
    results = in_a_process(*jobs)
    assert state_of(folder, folder / "out") == before
    return expected, results


@pytest.mark.parametrize("place", [0, 2], ids=["shards", "doctor"])
def test_hostile_files_take_no_more_memory_than_a_large_picture_and_little_time(
    place: int, measured: tuple[Expected, list[dict[str, Any]]]
) -> None:
    good, bad = measured[1][place : place + 2]
    assert good["megabytes"] > 1, "otherwise nothing was measured"
    assert bad["megabytes"] - good["megabytes"] < MOST_MEGABYTES
    assert bad["seconds"] < MOST_SECONDS


def test_each_worker_names_what_it_sets_aside(measured: tuple[Expected, list[dict[str, Any]]]) -> None:
    expected, (_, made, _, _) = measured
    require_said([(name, reason) for name, reason in made["quarantined"]], expected.pairs | expected.files)
    assert set(made["keys"]) == expected.good


def test_the_doctor_names_every_hostile_file_and_no_good_one(measured: tuple[Expected, list[dict[str, Any]]]) -> None:
    expected, (*_, diagnosed) = measured
    grave = [(files, found) for severity, _, files, found in diagnosed["findings"] if severity == "error"]
    named = {name for files, _ in grave for name in files}
    keys = {key_of(name) for name in named}
    assert keys >= expected.pairs.keys()
    assert named >= expected.files.keys()
    assert not keys & expected.good
    for files, found in grave:
        assert "".join([*files, found]).isprintable()
        assert not re.search(r"Traceback|object at 0x|\w+Error\b", found), found


def key_of(name: str) -> str:
    split, _, file = name.split("/", 2)
    return f"{split}/{file.rpartition('.')[0]}"


# ---- archives ----

BAD = {
    "plain": b"no picture",
    "numbers": tiff((40_000, 3, 2_000_000, b"\x12\x34" * 2_000_000)),
    "tile": PICTURES["tile.tif"][0](),
}
LOW, HIGH = encoded(SMALL // 3), encoded(SMALL)


def good_members() -> Iterator[tuple[str, bytes]]:
    for number in range(5):
        yield f"train/low/{number}.png", LOW
        yield f"train/high/{number}.png", HIGH
    for name, data in BAD.items():
        yield f"train/low/{name}.png", data
        yield f"train/high/{name}.png", HIGH


SAID = {"train/plain": "no picture", "train/numbers": "more numbers", "train/tile": "its tiles have"}
OUTSIDE = ("../../evil.png", "/tmp/evil.png", "train/low/../../../evil.png", "C:/evil.png")


def hostile_zip(path: Path) -> dict[str, str]:
    members: list[tuple[Any, bytes]] = [*good_members(), *((name, HIGH) for name in OUTSIDE)]
    members += [("train/low/\x1b[2J.png", HIGH), ("train/low/\u202egnp.exe.png", HIGH), ("train/low/4.PNG", HIGH)]
    members += [(zip_info("train/low/link.png", kind=stat.S_IFLNK), b"/etc/passwd")]
    members += [("train/low/honest.png", bytes(50_000_000)), ("train/low/locked.png", LOW)]
    members += [("train/low/bomb.png", bytes(50_000_000)), ("train/high/bomb.png", HIGH)]
    data = in_directory(zipped(*members), len(members) - 3, FLAGS, "<H", 1)
    path.write_bytes(in_directory(data, len(members) - 2, SIZE, "<I", 1000))
    return {
        **SAID,
        **dict.fromkeys(OUTSIDE, "leads out of the archive"),
        r"train/low/\x1b[2J.png": "control characters",
        r"train/low/\u202egnp.exe.png": "control characters",
        "train/low/4.PNG": "the same name",
        "train/low/link.png": "a link or a device",
        "train/low/honest.png": "claims 50000000 bytes",
        "train/low/locked.png": "encrypted",
        "train/bomb": "more than 8000000 bytes|cannot be unpacked",
    }


def hostile_tar(path: Path) -> dict[str, str]:
    kinds = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link", tarfile.CHRTYPE: "device", tarfile.FIFOTYPE: "pipe"}
    parts = [member(name, data) for name, data in good_members()]
    parts += [member(name, HIGH) for name in OUTSIDE[:3]]
    parts += [pax([("path", b"../../../pax.png")]) + member("train/low/pax.png", HIGH)]
    parts += [pax([("path", b"train/low/\xff.png")]) + member("train/low/x.png", HIGH)]
    parts += [header(f"train/low/kind{kind.decode()}.png", kind=kind) for kind in kinds]
    parts += [member("train/low/honest.png", bytes(9_000_000)), header("train/low/lies.png", size=10**12)]
    path.write_bytes(b"".join(parts) + END)
    return {
        **SAID,
        **dict.fromkeys((*OUTSIDE[:3], "../../../pax.png"), "leads out of the archive"),
        **{f"train/low/kind{kind.decode()}.png": reason for kind, reason in kinds.items()},
        r"train/low/\udcff.png": "not UTF-8",
        "train/low/honest.png": "claims 9000000 bytes",
        "train/low/lies.png": "are left of the archive",
    }


@pytest.mark.parametrize("name", ["pairs.zip", "pairs.tar", "pairs.tar.gz"])
def test_hostile_members_of_archives_are_set_aside_and_never_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in/deep/deeper").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    root, output = tmp_path / "in/deep/deeper" / name, tmp_path / "out"
    expected = hostile_zip(root) if name.endswith(".zip") else hostile_tar(root)
    if name.endswith(".gz"):
        root.write_bytes(gzip.compress(root.read_bytes(), 1))
    before = state_of(tmp_path, output)
    config = replace(config_of(root), max_unpacked_bytes=50_000_000)
    made = make(config, str(output))
    assert set(made["keys"]) == {f"train/{number}" for number in range(5)}
    require_said([(name, reason) for name, reason in made["quarantined"]], expected)
    after = state_of(tmp_path, output)
    del before[str(tmp_path / "scratch")], after[str(tmp_path / "scratch")]  # used and left empty
    assert after == before
    assert written_below(output) <= {".parquet", ".tar"}
    assert not Path("/tmp/evil.png").exists()


def written_below(output: Path) -> set[str]:
    return {path.suffix for path in output.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("ending", ["tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_unpacks_to_too_much_is_refused_and_nothing_is_left_of_it(ending: str, tmp_path: Path) -> None:
    root, output = tmp_path / f"pairs.{ending}", tmp_path / "out"
    with tarfile.open(root, f"w:{ending.removeprefix('tar.')}") as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("train/low/bomb.png")
        info.size = 60_000_000
        with open("/dev/zero", "rb") as zeros:
            archive.addfile(info, zeros)
    before = state_of(tmp_path, output)
    with pytest.raises(DataError, match="unpacks to more than 20000000 bytes"):
        make(config_of(root), str(output))
    assert state_of(tmp_path, output) == before
    assert not written_below(output)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    write_good(tmp_path / "pairs")
    (tmp_path / "pairs/train/low/00.png").chmod(0)
    made = make(config_of(tmp_path / "pairs"), str(tmp_path / "out"))
    require_said([(name, reason) for name, reason in made["quarantined"]], {"train/00": "permission is denied"})


@pytest.mark.parametrize("step", ["encode", "brightness", "decode_image"])
def test_a_pair_that_a_library_cannot_process_ends_no_run(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_good(tmp_path / "pairs")
    strip = write_strip(tmp_path / "pairs", 20)
    honest = getattr(pairs, step)

    def strict(pixels: Any, *args: Any, **options: Any) -> Any:
        if getattr(pixels, "shape", (0, 0))[1] == 20_000 or "strip" in options.get("name", ""):
            raise cv2.error("OpenCV(5): so many\npixels in a row\x1b[2J are too many")
        return honest(pixels, *args, **options)

    monkeypatch.setattr(pairs, step, strict)
    made = make(config_of(tmp_path / "pairs"), str(tmp_path / "out"))
    assert set(made["keys"]) == good
    ((name, reason),) = made["quarantined"]
    assert name == strip
    assert "it cannot be processed (OpenCV(5): so many pixels in a row [2J are too many)" in reason


@pytest.mark.parametrize("error", [StorageUnreachableError("nobody answers"), MemoryError("none left")])
def test_what_is_no_fault_of_a_pair_ends_the_run(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    write_good(tmp_path / "pairs")
    monkeypatch.setattr(pairs, "encode", fail)
    with pytest.raises(type(error)):
        make(config_of(tmp_path / "pairs"), str(tmp_path / "out"))
