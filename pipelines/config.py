"""What a data set is made from and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Part = Literal["whole", "left", "right", "top", "bottom"]
Encoding = Literal["webp", "png", "zstd", "raw"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Where pictures come from.

    Templates name files below the root, with fields in braces: `{split}`, `{ext}`, and any others, such as
    `{scene}` and `{id}`, which together are the key that pairs are joined on.

    Attributes:
        kind: A name in `pipelines.sources.SOURCES`.
        layout: A name in `pipelines.sources.layouts.LAYOUTS`; it fills whatever of this section is left out.
        root: A folder, an `s3://` prefix, or a zip or tar archive.
        degraded: Template of degraded pictures, such as `{split}/low/{id}.{ext}`.
        clean: Template of clean pictures.
        mask: Template of masks of what is degraded, such as a shadow's; empty where there are none.
        pairs_uri: Of a `pair_list`: a CSV file with the columns `degraded` and `clean`, and perhaps `mask`, `split`,
            `key` and others, which become tags. Paths in it are below the root, or URIs.
        degraded_part: Which half of its file the degraded picture is, where one file holds both.
        clean_part: Which half of its file the clean picture is.
        degraded_scale: How many times smaller the degraded pictures are; they are enlarged, bicubic.
        split_names: Folder names that stand for `train`, `val` and `test`, where they differ; `skip` leaves one out.
        val_share: Share of the training pairs that becomes the validation split where the source has none, in [0, 1).
    """

    kind: str = "paired_folders"
    layout: str = ""
    root: str = ""
    degraded: str = ""
    clean: str = ""
    mask: str = ""
    pairs_uri: str = ""
    degraded_part: Part = "whole"
    clean_part: Part = "whole"
    degraded_scale: int = 1
    split_names: dict[str, str] = field(default_factory=dict)
    val_share: float = 0.1

    @property
    def unpaired(self) -> bool:
        """Whether the two sides of a row have nothing to do with each other."""
        return self.kind == "unpaired_folders"


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeConfig:
    """A synthetic degradation of clean pictures; ignored where the source has degraded ones.

    Attributes:
        name: A name in `pipelines.ops.degrade.DEGRADATIONS`.
        strength: In [0, 1].
        variants: Degraded versions of each training picture; other splits have one.
    """

    name: str = "low_light"
    strength: float = 1.0
    variants: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchConfig:
    """Training pictures are cut into overlapping squares, so that reading a crop decodes little.

    Attributes:
        size_px: Side of a patch; 0 keeps pictures whole.
        stride_px: Distance between patches; the last one of a row or column is moved inwards to end with the picture.
    """

    size_px: int = 0
    stride_px: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CardConfig:
    """What people should know of a data set; it stands on its card and in its Croissant metadata.

    Attributes:
        title: Name of the data set; empty means the run's name.
        description: What the pictures show, and how they were taken.
        license: Of the pictures, as an SPDX name or a URL.
        citation: How to cite them, in BibTeX or words.
        url: Where they come from.
    """

    title: str = ""
    description: str = ""
    license: str = ""
    citation: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessConfig:
    """A whole data set.

    Attributes:
        source: Where pictures come from.
        degrade: What is done to clean ones.
        patch: How training pictures are cut.
        card: What people should know of it.
        resize_px: Side of the square that both pictures are resized to, bicubic, aspect ratio lost: the paper's
            protocol; 0 keeps them as they are.
        equalise_input: Whether the histograms of degraded pictures are equalised: the paper's way with LOL.
        seed: Seed of the degradations.
        encoding: How pictures stand in the table, all lossless: `webp` (smallest), `png` (read by everything), `zstd`
            (differences of rows; decodes several times as fast) or `raw` (nothing to decode, fastest). 16-bit
            pictures are PNG under `webp`.
        pictures_per_shard: Picture pairs whose rows make one Parquet file; 0 chooses by their number alone.
        row_group_size: Rows that one row group holds at most.
        row_group_bytes: Bytes of pictures above which a row group is closed early; what a worker holds at a time.
        min_side_px: Smallest height and width of a picture.
        max_pixels: Largest number of pixels of a picture.
        max_file_bytes: Largest file that is read.
        max_unpacked_bytes: Bytes that a compressed tar archive may unpack to.
        max_quarantined_share: Share of bad pairs above which the run fails, in [0, 1].
    """

    source: SourceConfig = field(default_factory=SourceConfig)
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    card: CardConfig = field(default_factory=CardConfig)
    resize_px: int = 0
    equalise_input: bool = False
    seed: int = 0
    encoding: Encoding = "webp"
    pictures_per_shard: int = 0
    row_group_size: int = 16
    row_group_bytes: int = 64_000_000
    min_side_px: int = 16
    max_pixels: int = 64_000_000
    max_file_bytes: int = 1_000_000_000
    max_unpacked_bytes: int = 200_000_000_000
    max_quarantined_share: float = 0.1
