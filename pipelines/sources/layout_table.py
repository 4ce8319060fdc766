"""Layouts by name, and those of folders as people make them; to register one is to have its page and its test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.config import Part
from rddm.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a data set names its files; what a `SourceConfig` takes where it says nothing itself.

    Attributes:
        title: What it is called.
        about: What it shows, where it comes from, how many pairs it has.
        examples: Real names, by the split that they end up in; `skip` for those that are left out.
        degraded: Template of degraded pictures.
        clean: Template of clean pictures.
        mask: Template of masks; empty where there are none.
        kind: A name in `pipelines.sources.SOURCES`.
        degraded_part: Which half of its file the degraded picture is.
        clean_part: Which half of its file the clean picture is.
        degraded_scale: How many times smaller the degraded pictures are.
        split_names: Folder names that stand for `train`, `val` and `test`.
        notes: What is odd about it.
        task: A name in `rddm.tasks.TASKS` that it suits.
    """

    title: str
    about: str
    examples: Mapping[str, tuple[str, ...]]
    degraded: str = ""
    clean: str = ""
    mask: str = ""
    kind: str = "paired_folders"
    degraded_part: Part = "whole"
    clean_part: Part = "whole"
    degraded_scale: int = 1
    split_names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    task: str = "restoration"


LAYOUTS: Registry[Layout] = Registry("layout")

LAYOUTS.register("degraded_clean")(
    Layout(
        title="Folders degraded and clean below splits",
        about="The plainest layout of one's own pairs. Folders below the two are kept in the key.",
        degraded="{split}/degraded/{id:.+}.{ext}",
        clean="{split}/clean/{id:.+}.{ext}",
        examples={
            "train": ("train/degraded/1.png", "train/clean/1.jpg"),
            "val": ("val/degraded/holidays/2.png", "val/clean/holidays/2.png"),
            "test": ("test/degraded/3.tif", "test/clean/3.tif"),
        },
    )
)
LAYOUTS.register("input_target")(
    Layout(
        title="Folders input and target below splits",
        about="The layout that Restormer and its descendants unpack their sets into.",
        degraded="{split}/input/{id:.+}.{ext}",
        clean="{split}/target/{id:.+}.{ext}",
        examples={
            "train": ("train/input/1.jpg", "train/target/1.jpg"),
            "test": ("test/input/1.png", "test/target/1.png"),
        },
    )
)
LAYOUTS.register("lq_gt")(
    Layout(
        title="Folders lq and gt below splits",
        about="The layout of BasicSR's paired data sets: low quality and ground truth.",
        degraded="{split}/lq/{id:.+}.{ext}",
        clean="{split}/gt/{id:.+}.{ext}",
        examples={"train": ("train/lq/1.png", "train/gt/1.png"), "val": ("val/lq/1.png", "val/gt/1.png")},
    )
)
LAYOUTS.register("flat")(
    Layout(
        title="Folders degraded and clean, no splits",
        about="Two folders with the same names in them; everything is there to train on, and a share of it becomes the "
        "validation split.",
        degraded="degraded/{id:.+}.{ext}",
        clean="clean/{id:.+}.{ext}",
        examples={"train": ("degraded/1.png", "clean/1.png", "degraded/2.jpg", "clean/2.png")},
        notes=('For folders of other names set the templates instead: `degraded: "real/{id}.{ext}"`.',),
    )
)
LAYOUTS.register("clean_splits")(
    Layout(
        title="Clean pictures below splits",
        about="Clean pictures alone, sorted into train, val and test; `data.degrade` makes their partners.",
        kind="clean_folder",
        clean="{split:train|val|test}/{id:.+}.{ext}",
        examples={"train": ("train/1.png",), "val": ("val/2.png",), "test": ("test/birds/3.png",)},
    )
)
LAYOUTS.register("clean_folder")(
    Layout(
        title="One folder of clean pictures",
        about="Clean pictures alone, with all folders below; `data.degrade` makes their partners.",
        kind="clean_folder",
        clean="{id:.+}.{ext}",
        examples={"train": ("kodim01.png", "birds/kodim23.png")},
    )
)
LAYOUTS.register("pair_list")(
    Layout(
        title="A list of pairs",
        about="A CSV file says which picture belongs to which: `data.source.pairs_uri`. It has a line of column names; "
        "`degraded` and `clean` are paths below the root, or URIs; `mask`, `split` and `key` may be there; other "
        "columns become tags.",
        kind="pair_list",
        examples={"train": ("a/1.png", "b/eins.png"), "test": ("a/2.png", "b/zwei.png")},
        notes=("Files are not looked for beforehand; one that is missing is set aside when it is to be read.",),
    )
)
LAYOUTS.register("unpaired")(
    Layout(
        title="Two kinds of pictures, unpaired",
        about="The layout of CycleGAN's sets: trainA, trainB, testA and testB hold pictures that have nothing to do "
        "with each other.",
        kind="unpaired_folders",
        degraded="{**/}{split:train|val|test}A/{id:.+}.{ext}",
        clean="{**/}{split:train|val|test}B/{id:.+}.{ext}",
        examples={
            "train": ("trainA/n02381460_2.jpg", "trainB/n02391049_2.jpg"),
            "test": ("testA/n02381460_20.jpg", "testB/n02391049_80.jpg"),
        },
        notes=("A becomes B; there is no truth to compare with.",),
        task="translation",
    )
)
