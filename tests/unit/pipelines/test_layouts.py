from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.containers import SourceFile
from pipelines.sources import SOURCES, Found, layout_pages, survey
from pipelines.sources.layouts import FILLED, LAYOUTS, Layout, Suggestion, resolve, suggest_layout
from pipelines.sources.pairing import SourcePair
from rddm.errors import ConfigError
from rddm.tasks import TASKS

NAMES = list(LAYOUTS)
PAIRED = [name for name, layout in LAYOUTS.items() if layout.kind == "paired_folders"]


def miniature(layout: Layout, root: Path) -> None:
    """The layout's examples as empty files."""
    for name in all_examples(layout):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def all_examples(layout: Layout) -> list[str]:
    return [name for names in layout.examples.values() for name in names]


def found(name: str, root: Path | str, scratch: Path) -> Found:
    source = SourceConfig(layout=name, root=str(root), val_share=0.0)
    if LAYOUTS[name].kind == "pair_list":
        lines = ["degraded,clean,split"]
        for split, (degraded, clean) in LAYOUTS[name].examples.items():
            lines.append(f"{degraded},{clean},{split}")
        (scratch / "pairs.csv").write_text("\n".join(lines))
        source = replace(source, pairs_uri=str(scratch / "pairs.csv"))
    return survey(PreprocessConfig(source=source), scratch_uri=str(scratch))


def paths(pairs: Iterable[SourcePair]) -> set[str]:
    return {file.path for pair in pairs for file in (pair.degraded, pair.clean, pair.mask) if file}


def test_there_are_presets_for_the_public_sets() -> None:
    assert {"lol", "istd", "raindrop", "gopro", "rain100", "rain800", "reside_outdoor", "sidd", "snow100k"} <= set(
        NAMES
    )
    assert {"polyu", "uieb", "euvp", "div2k_x4", "clean_folder", "pair_list", "unpaired", "afhq"} <= set(NAMES)
    assert len(NAMES) >= 16


@pytest.mark.parametrize("name", NAMES)
def test_a_miniature_of_a_layout_pairs_without_orphans(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    miniature(layout, tmp_path / "set")
    result = found(name, tmp_path / "set", tmp_path)
    assert not result.quarantined
    assert not result.unmatched
    for split in ("train", "val", "test"):
        pairs = [pair for pair in result.pairs if pair.split == split]
        assert paths(pairs) == set(layout.examples.get(split, ()))
        assert bool(pairs) == (split in layout.examples)
    for pair in result.pairs:
        assert (pair.degraded is None) == (layout.kind == "clean_folder")
        assert (pair.mask is not None) == bool(layout.mask)
        assert pair.clean.part == layout.clean_part
        assert pair.degraded is None or pair.degraded.part == layout.degraded_part


@pytest.mark.parametrize("name", [name for name in PAIRED if LAYOUTS[name].degraded.startswith("{**/}")])
def test_a_layout_of_a_public_set_pairs_below_a_further_folder_too(name: str, tmp_path: Path) -> None:
    """As archives have it, Apple's own notes included."""
    layout = LAYOUTS[name]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for example in all_examples(layout):
            archive.writestr(f"Data Set (1)/{example}", b"x")
            folder, _, file = example.rpartition("/")
            archive.writestr(f"__MACOSX/Data Set (1)/{folder}/._{file}", b"x")
    result = found(name, tmp_path / "set.zip", tmp_path)
    assert not result.quarantined
    used = set(all_examples(layout)) - set(layout.examples.get("skip", ()))
    assert paths(result.pairs) == {f"Data Set (1)/{example}" for example in used}


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_says_what_people_need_to_know(name: str) -> None:
    layout = LAYOUTS[name]
    assert re.fullmatch("[a-z0-9_]+", name)
    assert len(layout.about) > 60
    assert layout.title
    assert layout.kind in SOURCES
    assert layout.task in TASKS
    assert set(layout.split_names.values()) <= {"train", "val", "test", "skip"}
    assert (layout.task == "masked_restoration") == bool(layout.mask)


@pytest.mark.parametrize("name", PAIRED)
def test_a_listing_is_recognised(name: str) -> None:
    layout = LAYOUTS[name]
    files = [SourceFile(example) for example in all_examples(layout)]
    best = suggest_layout(files)
    assert max(best, key=lambda one: one.pairs).pairs == len(layout_pages.example_pairs(layout))
    assert name in [suggestion.layout for suggestion in best]


def test_a_root_that_lies_too_high_is_told() -> None:
    files = [SourceFile(f"my/data/train/{side}/{n}.png") for side in ("input", "target") for n in range(3)]
    notes = [SourceFile("__MACOSX/my/._data")]
    assert suggest_layout([*files, *notes]) == [Suggestion("input_target", 3, "my/data/")]


def test_a_listing_of_nothing_known_suggests_nothing() -> None:
    assert suggest_layout([]) == []
    assert suggest_layout([SourceFile("one.png")]) == []
    assert suggest_layout([SourceFile(f"a/{n}.png") for n in range(5)]) == []


def test_large_listings_are_counted_whole() -> None:
    files = [SourceFile(f"our485/{side}/{n}.png") for side in ("low", "high") for n in range(15_000)]
    assert suggest_layout(files) == [Suggestion("lol", 15_000, "")]


def test_a_layout_fills_what_the_section_leaves_out() -> None:
    resolved = resolve(SourceConfig(layout="rain800", root="r"))
    assert resolved.degraded == LAYOUTS["rain800"].degraded
    assert (resolved.degraded_part, resolved.clean_part) == ("right", "left")
    assert resolved.root == os.path.abspath("r"), "workers have other working folders"
    assert resolved.split_names == {"training": "train", "test_syn": "test"}
    assert resolve(resolved) == resolved
    assert resolve(SourceConfig(layout="div2k_x4")).degraded_scale == 4
    assert resolve(SourceConfig(layout="unpaired")).unpaired


def test_what_a_person_sets_stays() -> None:
    own = SourceConfig(
        layout="lol", clean="{split}/normal/{id}.{ext}", split_names={"eval15": "val", "more": "train"}, val_share=0.3
    )
    resolved = resolve(own)
    assert resolved.degraded == LAYOUTS["lol"].degraded
    assert resolved.clean == own.clean
    assert resolved.val_share == 0.3
    assert resolved.split_names == {"our485": "train", "eval15": "val", "more": "train"}


def test_a_layout_has_every_field_that_it_fills() -> None:
    assert set(FILLED) | {"split_names"} <= {field.name for field in fields(Layout)}
    assert set(FILLED) <= {field.name for field in fields(SourceConfig)}


def test_templates_need_no_layout() -> None:
    own = SourceConfig(degraded="a/{id}.png", clean="b/{id}.png")
    assert resolve(own) == own


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SourceConfig(), r"data\.source\.degraded and data\.source\.clean are empty.*name a layout \(.*lol.*\)"),
        (SourceConfig(degraded="{id}.png"), r"data\.source\.clean is empty"),
        (SourceConfig(kind="clean_folder"), r"data\.source\.clean is empty, which a 'clean_folder' source needs"),
        (SourceConfig(layout="pair_list"), r"data\.source\.pairs_uri is empty.*CSV file with the columns"),
        (SourceConfig(layout="raindrops"), "unknown layout 'raindrops'; did you mean 'raindrop'"),
    ],
)
def test_a_section_that_says_too_little_is_refused(config: SourceConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config)


def test_the_pages_on_disk_are_those_of_the_layouts() -> None:
    """If this fails: python -m pipelines.sources.layout_pages."""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in layout_pages.FOLDER.glob("*.md")}
    assert on_disk == layout_pages.pages()
    assert set(on_disk) == {"index.md", *(f"{name}.md" for name in NAMES)}


def test_writing_the_pages_removes_those_of_layouts_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "gone.md").touch()
    layout_pages.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(layout_pages.pages())


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_settings_that_work(name: str) -> None:
    """The short form and the written-out one mean the same."""
    text = layout_pages.pages()[f"{name}.md"]
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    resolved = [resolve(SourceConfig(**{**block["data"]["source"], "root": "r"})) for block in blocks]
    assert blocks[0]["data"]["source"]["layout"] == name
    assert blocks[0].get("model", {}).get("task", "restoration") == LAYOUTS[name].task
    assert all(replace(one, layout="") == replace(resolved[0], layout="") for one in resolved)
    for note in LAYOUTS[name].notes:
        assert note in text


def test_a_tree_shows_each_folder_once() -> None:
    assert layout_pages.tree(["a/b/2.png", "a/1.png", "a/b/1.png", "c.png"]).splitlines() == [
        "a/",
        "  1.png",
        "  b/",
        "    1.png",
        "    2.png",
        "c.png",
    ]
