"""The page of a diagnosis: bounded, self-contained, and deaf to what file names would have it do."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.containers import SourceFile
from pipelines.doctor import Diagnosis, diagnose
from pipelines.doctor.findings import CHECKS, Finding, Severity
from pipelines.doctor.report import SHOWN_PER_KIND, SHOWN_WITH_PICTURES, render, thumbnails
from tests.unit.pipelines import faulty
from tests.unit.pipelines.faulty import config_of
from tests.unit.pipelines.pictures import encoded
from tests.unit.pipelines.scenes import scene


def finding(kind: str, *files: str, severity: Severity = "error", found: str = "something") -> Finding:
    return Finding(kind=kind, severity=severity, files=files, found=found, expected="a thing", remedy="mend it")


def diagnosis_of(*findings: Finding, root: Path | None = None) -> Diagnosis:
    named = {path for one in findings for path in one.files}
    places = {path: (str(root), SourceFile(path)) for path in named} if root else {}
    return Diagnosis(
        findings=findings, num_pairs=9, num_inspected=9, num_files=18, seconds=1.0, places=places
    )  # fmt: skip


def test_a_page_shows_every_kind_with_both_sides_side_by_side(tmp_path: Path) -> None:
    expected = faulty.write_faulty(tmp_path / "set")
    config = config_of(tmp_path / "set")
    diagnosis = diagnose(config)
    pictures = thumbnails(diagnosis, config)
    page = render(diagnosis, pictures, title="set")
    for kind in expected:
        assert f'data-kind="{kind}"' in page
    assert {"train/low/mirrored.png", "train/high/mirrored.png"} <= set(pictures)
    assert "train/high/zero_bytes.png" not in pictures
    assert all(max(one.width_px, one.height_px) <= 160 for one in pictures.values())


def test_names_that_mean_harm_are_text() -> None:
    hostile = ("<script>alert(1)</script>.png", 'x" onerror="alert(1).png', "a\x1b[2J\u202e.png", "{{ 7*7 }}.png")
    page = render(diagnosis_of(finding("damaged", *hostile, found="<img src=x>")), {}, title="<b>&{{ 1 }}")
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert 'onerror="alert' not in page
    assert "\x1b" not in page
    assert "{{ 7*7 }}" in page
    assert "<b>" not in page


def test_a_page_asks_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene("a")))
    diagnosis = diagnosis_of(finding("damaged", "a.png"), root=tmp_path)
    page = render(diagnosis, thumbnails(diagnosis, config_of(tmp_path)), title="set")
    assert "default-src 'none'" in page
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s>)]+)', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)


def test_many_findings_are_cut_short_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene("a")))
    kinds = list(CHECKS)[:30]
    findings = [
        finding(kind, f"{number}.png", "a.png") for kind in kinds for number in range(SHOWN_PER_KIND * 2)
    ]  # fmt: skip
    many = [finding("damaged", f"{number}.png", severity="note") for number in range(1000)]
    diagnosis = diagnosis_of(*findings, *many, root=tmp_path)
    pictures = thumbnails(diagnosis, config_of(tmp_path))
    page = render(diagnosis, pictures, title="set")
    assert page.count("<img") <= 2 * SHOWN_WITH_PICTURES
    assert ">1024</span>" in page, "damaged is counted whole"
    assert len(page) < 3_000_000
    assert "--json lists all" in page


def test_a_page_without_findings_says_so() -> None:
    page = render(diagnosis_of(), {}, title="set")
    assert 'id="well"' in page
    assert "<fieldset>" not in page
