"""The pair doctor finds every fault of the faulty corpus, and nothing else; and nothing in the clean one."""

from __future__ import annotations

import dataclasses
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipelines import doctor
from pipelines.config import PreprocessConfig
from pipelines.containers import SourceFile
from pipelines.doctor import Diagnosis, diagnose
from pipelines.doctor.checks import CHECKS
from pipelines.doctor.findings import SEVERITIES, Finding, Inspection, find_all
from pipelines.manifest import Quarantined
from pipelines.ops import inspect_files
from pipelines.ops.degrade import Degrade
from pipelines.ops.facts import FileFacts, PairFacts
from pipelines.ops.inspect import Picture, inspect_pair, look, unreadable
from pipelines.ops.pairs import WorkItem, checked
from pipelines.sources import survey
from rddm.errors import DataError, StorageUnreachableError
from tests.unit.pipelines import faulty
from tests.unit.pipelines.faulty import Corpus, Expected, config_of
from tests.unit.pipelines.pictures import encoded
from tests.unit.pipelines.scenes import Pixels, darkened, mask_of, scene


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreprocessConfig, Expected]:
    root = tmp_path_factory.mktemp("corpus") / "faulty"
    expected = faulty.write_faulty(root)
    return config_of(root), expected


@pytest.fixture(scope="module")
def inspection(seeded: tuple[PreprocessConfig, Expected]) -> Inspection:
    """What the checks are given of the faulty corpus."""
    seen: list[Inspection] = []

    def remember(given: Inspection) -> tuple[Finding, ...]:
        seen.append(given)
        return ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "find_all", remember)
        diagnose(seeded[0])
    return seen[0]


def by_kind(findings: Sequence[Finding]) -> Expected:
    files: Expected = {}
    for finding in findings:
        files.setdefault(finding.kind, set()).update(finding.files)
    return files


def kinds(diagnosis: Diagnosis) -> set[str]:
    return {finding.kind for finding in diagnosis.findings}


# ---- the corpora ----


@pytest.mark.parametrize("seed", [0, 1])
def test_a_set_without_faults_has_no_findings_of_any_severity(tmp_path: Path, seed: int) -> None:
    diagnosis = diagnose(faulty.write_clean(tmp_path / "clean", seed))
    assert diagnosis.findings == ()
    assert (diagnosis.num_pairs, diagnosis.num_inspected, diagnosis.num_files) == (24, 24, 72)


def test_every_seeded_fault_is_found_at_its_files_and_no_other(
    inspection: Inspection, seeded: tuple[PreprocessConfig, Expected]
) -> None:
    found, expected = by_kind(find_all(inspection)), seeded[1]
    assert {kind: expected[kind] - found.get(kind, set()) for kind in expected} == {kind: set() for kind in expected}
    assert {kind: found[kind] - expected.get(kind, set()) for kind in found} == {kind: set() for kind in found}


def test_errors_are_what_preprocessing_sets_aside(seeded: tuple[PreprocessConfig, Expected]) -> None:
    config, _ = seeded
    wrong = {path for one in diagnose(config).findings if one.severity == "error" for path in one.files}
    degrade = Degrade("low_light")
    for pair in survey(config, scratch_uri="").pairs:
        set_aside = isinstance(checked(WorkItem(pair=pair), config, degrade), Quarantined)
        files = {file.path for file in (pair.degraded, pair.clean, pair.mask) if file is not None}
        assert set_aside == bool(files & wrong), pair.key


def test_every_check_is_tried(seeded: tuple[PreprocessConfig, Expected]) -> None:
    elsewhere = {
        "no_pairs", "empty_split", "other_layout", "swapped_sides", "hostile_name", "broken_member", "bad_line",
        "lonely_split", "unreadable", "set_aside",
    }  # fmt: skip
    assert set(CHECKS) == set(seeded[1]) | elsewhere
    assert len(seeded[1]) >= 30


def test_every_finding_says_what_to_do(inspection: Inspection) -> None:
    for finding in find_all(inspection):
        assert finding.severity in SEVERITIES
        assert all((finding.files, finding.found, finding.expected, finding.remedy))
        assert CHECKS[finding.kind].summary.endswith(".")


def test_findings_do_not_depend_on_the_order_of_anything(inspection: Inspection) -> None:
    findings = find_all(inspection)
    for seed in range(3):
        generator = random.Random(seed)
        mixed = dataclasses.replace(
            inspection,
            pairs=generator.sample(list(inspection.pairs), len(inspection.pairs)),
            set_aside=generator.sample(list(inspection.set_aside), len(inspection.set_aside)),
            unmatched=generator.sample(list(inspection.unmatched), len(inspection.unmatched)),
        )
        assert find_all(mixed) == findings


def test_facts_survive_json(inspection: Inspection) -> None:
    for pair in inspection.pairs:
        assert PairFacts.from_dict(json.loads(json.dumps(pair.to_dict()))) == pair


def test_a_diagnosis_counts_what_it_lists(seeded: tuple[PreprocessConfig, Expected]) -> None:
    diagnosis = diagnose(seeded[0])
    document = json.loads(json.dumps(diagnosis.to_dict()))
    assert len(document["findings"]) == sum(document["counts"].values()) == sum(document["kinds"].values())
    assert not diagnosis.is_well
    severities = [SEVERITIES.index(finding["severity"]) for finding in document["findings"]]
    assert severities == sorted(severities)


# ---- layouts and sources ----


def test_a_sample_is_the_same_every_time_and_says_that_it_is_one(tmp_path: Path) -> None:
    config = faulty.write_clean(tmp_path / "clean")
    diagnosis = diagnose(config, max_pairs=5)
    assert (diagnosis.num_pairs, diagnosis.num_inspected) == (24, 5)
    assert diagnosis.findings == diagnose(config, max_pairs=5).findings == ()


def test_a_root_where_nothing_fits_is_told_which_layout_would(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(4):
        clean = corpus.scene(str(number))
        corpus.write(f"our485/high/{number}.png", encoded(clean))
        corpus.write(f"our485/low/{number}.png", encoded(darkened(clean, "x")))
    config = config_of(tmp_path / "set", degraded="noisy/{id}.{ext}", clean="clean/{id}.{ext}", mask="")
    diagnosis = diagnose(config)
    assert {"no_pairs", "other_layout"} <= kinds(diagnosis)
    (hint,) = [finding for finding in diagnosis.findings if finding.kind == "other_layout"]
    assert "lol" in hint.remedy


def test_a_set_without_a_split_is_told_so(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(3):
        corpus.pair(str(number), split="test")
    assert [(f.kind, f.severity) for f in diagnose(config_of(tmp_path / "set")).findings] == [
        ("empty_split", "warning")
    ]


def test_what_an_archive_hides_is_found(tmp_path: Path) -> None:
    root = tmp_path / "set"
    faulty.write_clean(root)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.write(path, path.relative_to(root))
        archive.writestr("../../etc/passwd.png", b"x")
    data = bytearray((tmp_path / "set.zip").read_bytes())
    encrypted = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    data[encrypted + 8] |= 1  # the flag of the last sound member
    (tmp_path / "set.zip").write_bytes(data)
    found = by_kind(diagnose(config_of(tmp_path / "set.zip")).findings)
    assert found["hostile_name"] == {"../../etc/passwd.png"}
    assert len(found["broken_member"]) == 1
    assert set(found) == {"hostile_name", "broken_member", "missing_mask"}, "the last member was a mask"


def test_lines_of_a_list_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    faulty.write_clean(root)
    lines = ["degraded,clean,split", *(f"train/low/{n:03d}.png,train/high/{n:03d}.png,train" for n in (0, 1, 2))]
    listed = tmp_path / "pairs.csv"
    listed.write_text("\n".join([*lines, "test/low/003.png,test/high/003.png,test", "../x.png,y.png,train"]) + "\n")
    config = config_of(root, kind="pair_list", pairs_uri=str(listed), degraded="", clean="", mask="")
    (finding,) = diagnose(config).findings
    assert (finding.kind, finding.files) == ("bad_line", (f"{listed}:6",))


def test_two_sides_that_have_nothing_to_do_with_each_other_are_not_compared(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(6):
        split = "test" if number == 5 else "train"
        corpus.write(f"{split}/a/{number}.png", encoded(corpus.scene(f"a {number}")))
        corpus.write(f"{split}/b/{number}.png", encoded(corpus.scene(f"b {number}", (90, 100))))
    templates = {"degraded": "{split}/a/{id}.{ext}", "clean": "{split}/b/{id}.{ext}", "mask": ""}
    config = config_of(tmp_path / "set", kind="unpaired_folders", **templates)
    assert kinds(diagnose(config)) == set()
    again = corpus.write("train/a/again.png", encoded(corpus.scene("a 1")))
    (finding,) = diagnose(config).findings
    assert (finding.kind, finding.files) == ("duplicate_pair", ("train/a/1.png", again))
    corpus.write("val/a/9.png", encoded(corpus.scene("a 9")))
    assert kinds(diagnose(config)) == {"duplicate_pair", "lonely_split"}


def test_a_clean_folder_is_examined_without_partners(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(6):
        corpus.write(f"{'test' if number == 5 else 'train'}/{number}.png", encoded(corpus.scene(str(number))))
    config = config_of(tmp_path / "set", kind="clean_folder", degraded="", clean="{split}/{id}.{ext}", mask="")
    assert kinds(diagnose(config)) == set()
    corpus.write("test/leaked.jpg", encoded(corpus.scene("2"), "JPEG", quality=90))
    assert kinds(diagnose(config)) == {"leak_near"}


def test_both_halves_of_one_file_are_a_pair(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(6):
        clean = corpus.scene(str(number))
        both = np.hstack([darkened(clean, str(number)), clean])
        corpus.write(f"{'test' if number == 5 else 'train'}/{number}.png", encoded(both))
    template = "{split}/{id}.{ext}"
    halves = {"degraded": template, "clean": template, "mask": "", "degraded_part": "left", "clean_part": "right"}
    assert kinds(diagnose(config_of(tmp_path / "set", **halves))) == set()
    corpus.write("train/odd.png", encoded(np.hstack([corpus.scene("one"), corpus.scene("two")])))
    assert "unrelated_partner" in kinds(diagnose(config_of(tmp_path / "set", **halves)))


def test_a_clean_picture_that_many_share_is_read_once_and_is_no_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(4):
        split = "test" if number == 3 else "train"
        clean = corpus.scene(str(number))
        corpus.write(f"{split}/clear/{number}.png", encoded(clean))
        for level in range(3):
            hazy = darkened(clean, "x" * (level + 1))
            corpus.write(f"{split}/hazy/{number}_{level}.png", encoded(hazy))
    read: list[str] = []
    original = inspect_files.see

    def see(root: str, file: SourceFile, config: PreprocessConfig) -> Picture:
        read.append(file.path)
        return original(root, file, config)

    monkeypatch.setattr(inspect_files, "see", see)
    templates = {"degraded": "{split}/hazy/{id}_{level}.{ext}", "clean": "{split}/clear/{id}.{ext}", "mask": ""}
    assert kinds(diagnose(config_of(tmp_path / "set", **templates))) == set()
    assert len(read) == 4 + 12


def test_a_smaller_degraded_side_is_right_where_the_config_says_so(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(5):
        clean = corpus.scene(str(number))
        small = np.asarray(cv2.resize(clean, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        corpus.pair(str(number), split="test" if number == 4 else "train", clean=clean, degraded=small)
    assert kinds(diagnose(config_of(tmp_path / "set", degraded_scale=2))) == set()
    assert kinds(diagnose(config_of(tmp_path / "set"))) == {"size_scale"}


def test_files_that_cannot_be_read_are_named() -> None:
    told = {"denied": "unreadable", "p is a folder, a pipe or a device": "irregular_file"}
    told["it has more than 10 bytes, the most that a file may have"] = "too_many_bytes"
    for words, kind in told.items():
        pair = inspect_pair("train/a", "train", clean=unreadable("a.png", DataError(words)), degraded=None)
        assert kind in {finding.kind for finding in find_all(Inspection(pairs=[pair]))}


def test_storage_that_does_not_answer_is_no_fault_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*given: object) -> bytes:
        raise StorageUnreachableError("no answer")

    config = faulty.write_clean(tmp_path / "set")
    monkeypatch.setattr(inspect_files, "read_file", silent)
    with pytest.raises(StorageUnreachableError):
        diagnose(config)


# ---- which side is which ----


def noisy(clean: Pixels) -> Pixels:
    generator = np.random.default_rng(int(clean.sum()))
    return np.clip(clean + generator.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)


def rainy(clean: Pixels) -> Pixels:
    generator = np.random.default_rng(int(clean.sum()))
    drops = (generator.random(clean.shape[:2]) > 0.996).astype(np.float32)
    streak = np.zeros((13, 13), np.float32)
    cv2.line(streak, (4, 0), (8, 12), 1.0)
    rain = np.clip(cv2.filter2D(drops, -1, streak), 0, 1)[..., None] * 0.7
    wet: Pixels = (clean * (1 - rain) + 255 * rain).astype(np.uint8)
    return wet


def shadowed(clean: Pixels) -> Pixels:
    shadow = mask_of(clean.shape[:2])[..., None] / 255 * 0.5
    return (clean * (1 - shadow)).astype(np.uint8)


def compressed(clean: Pixels) -> Pixels:
    pixels: Pixels | None = look(encoded(clean, "JPEG", quality=20), "a.jpg").pixels
    assert pixels is not None
    return pixels


DEGRADATIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "dark": lambda clean: darkened(clean, "x"),
    "noisy": noisy,
    "blurred": lambda clean: np.asarray(cv2.GaussianBlur(clean, (0, 0), 2)),
    "streaked": rainy,
}


def pictured(pixels: Pixels, path: str) -> Picture:
    return look(encoded(pixels), path)


def pairs_of(degrade: Callable[[Pixels], Pixels], *, swapped: bool) -> list[PairFacts]:
    facts = []
    for number in range(5):
        clean = scene(f"side {number}")
        sides = [pictured(degrade(clean), f"a/{number}.png"), pictured(clean, f"b/{number}.png")]
        degraded, other = sides[::-1] if swapped else sides
        split = "test" if number == 4 else "train"
        facts.append(inspect_pair(f"{split}/{number}", split, degraded=degraded, clean=other))
    return facts


@pytest.mark.parametrize("reason", DEGRADATIONS)
def test_sides_that_are_swapped_are_noticed_and_only_then(reason: str) -> None:
    (finding,) = find_all(Inspection(pairs=pairs_of(DEGRADATIONS[reason], swapped=True)))
    assert finding.kind == "swapped_sides"
    assert f"({reason})" in finding.found
    assert find_all(Inspection(pairs=pairs_of(DEGRADATIONS[reason], swapped=False))) == ()


@pytest.mark.parametrize("degrade", [shadowed, compressed])
@pytest.mark.parametrize("swapped", [True, False])
def test_what_looks_like_either_side_accuses_nobody(degrade: Callable[[Pixels], Pixels], swapped: bool) -> None:
    assert find_all(Inspection(pairs=pairs_of(degrade, swapped=swapped))) == ()


def test_a_leak_into_validation_is_a_note(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "set", 0)
    for number in range(4):
        corpus.pair(str(number), split="test" if number == 3 else "train")
    corpus.pair("again", split="val", clean=corpus.scene("1"), degraded=darkened(corpus.scene("1"), "1"))
    (finding,) = diagnose(config_of(tmp_path / "set")).findings
    assert (finding.kind, finding.severity) == ("leak_exact", "note")


def test_blank_pictures_are_no_duplicates_and_no_leaks() -> None:
    blank = pictured(np.full((40, 50, 3), 90, np.uint8), "a.png")
    other = pictured(np.full((40, 50, 3), 90, np.uint8), "b.png")
    pairs = [
        inspect_pair(f"{split}/{number}", split, clean=picture, degraded=None)
        for number, (split, picture) in enumerate([("train", blank), ("test", other), ("train", other)])
    ]
    assert {finding.kind for finding in find_all(Inspection(pairs=pairs))} == {"blank"}


def test_facts_of_a_file_name_every_attribute_once() -> None:
    documented = (FileFacts.__doc__ or "").split("Attributes:")[1]
    for field in dataclasses.fields(FileFacts):
        assert f"\n        {field.name}: " in documented


def config_with(root: Path, **changes: Any) -> PreprocessConfig:
    return dataclasses.replace(config_of(root), **changes)


def test_limits_come_from_the_config(tmp_path: Path) -> None:
    faulty.write_clean(tmp_path / "set")
    assert kinds(diagnose(config_with(tmp_path / "set", max_pixels=10_000))) >= {"too_many_pixels"}
    assert kinds(diagnose(config_with(tmp_path / "set", max_file_bytes=2_000))) >= {"too_many_bytes", "no_pairs"}
    assert kinds(diagnose(config_with(tmp_path / "set", min_side_px=128))) == {"too_small"}
