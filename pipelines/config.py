"""What a data set is made from and how."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Where pictures come from.

    Attributes:
        kind: A name in `pipelines.sources.SOURCES`.
        root: Folder below which the templates look.
        degraded: Template of degraded pictures, such as `{split}/low/{key}.{ext}`.
        clean: Template of clean pictures.
        split_names: Folder names that stand for `train`, `val` and `test`, where they differ.
        val_share: Share of the training pairs that becomes the validation split where the source has none, in [0, 1).
    """

    kind: str = "paired_folders"
    root: str = ""
    degraded: str = "{split}/degraded/{key}.{ext}"
    clean: str = "{split}/clean/{key}.{ext}"
    split_names: dict[str, str] = field(default_factory=dict)
    val_share: float = 0.1


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
class PreprocessConfig:
    """A whole data set.

    Attributes:
        source: Where pictures come from.
        degrade: What is done to clean ones.
        patch: How training pictures are cut.
        resize_px: Side of the square that both pictures are resized to, bicubic, aspect ratio lost: the paper's
            protocol; 0 keeps them as they are.
        equalise_input: Whether the histograms of degraded pictures are equalised: the paper's way with LOL.
        seed: Seed of the degradations.
        pictures_per_shard: Picture pairs whose rows make one Parquet file.
        row_group_size: Rows that are read together.
        min_side_px: Smallest height and width of a picture.
        max_pixels: Largest number of pixels of a picture.
        max_quarantined_share: Share of bad pairs above which the run fails, in [0, 1].
    """

    source: SourceConfig = field(default_factory=SourceConfig)
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    resize_px: int = 0
    equalise_input: bool = False
    seed: int = 0
    pictures_per_shard: int = 8
    row_group_size: int = 16
    min_side_px: int = 16
    max_pixels: int = 64_000_000
    max_quarantined_share: float = 0.1
