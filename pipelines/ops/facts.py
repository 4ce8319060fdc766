"""What is known of a file and of a pair, in plain values, which cross from worker to worker and judge nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import Part


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """One picture, or the half of a file that is one side of a pair.

    Attributes:
        path: Its name in the source.
        part: Which half of the file is meant.
        size_bytes: Of the file.
        sha256: Of the file.
        fault: Why it cannot be used, or nothing: `zero_bytes`, `unreadable`, `irregular_file`, `too_many_bytes`,
            `not_a_picture`, `unsupported_format`, `header_lies`, `too_many_pixels`, `animated`, `cmyk`,
            `unsupported_mode`, `truncated` or `damaged`. What follows the header's values is unset then.
        found: The fault in words.
        format: By content, one of `codec.FORMATS`, or nothing.
        mode: Pillow's name of the kind of pixels.
        stored_height_px: In the file.
        stored_width_px: In the file.
        orientation: EXIF's, 1 to 8; 1 is upright.
        icc_name: Description of the colour profile, or nothing.
        jpeg_quality: Estimate of libjpeg's quality; 0 where the file is no JPEG.
        palette: Whether the pixels are indices of a palette.
        height_px: Upright, of the part that is meant.
        width_px: Upright, of the part that is meant.
        bit_depth: 8 or 16.
        effective_bits: Bits that values use: less than `bit_depth` where the highest or the lowest are never set.
        alpha: `none`, `opaque` or `used`.
        grey: Whether all channels are equal.
        mean: Brightness, in [0, 1], as the three below.
        std: Its standard deviation.
        darkest: Its least.
        brightest: Its greatest.
        black_share: Share of pixels that are black in 8 bits.
        white_share: Share of pixels that are white in 8 bits.
        flat_rows_share: Share of the height, from below, whose pixels all have one colour.
        pixels_sha256: Of the upright pixels, whatever the file's format.
        phash: 64-bit perceptual hash, in hexadecimal.
        thumb: 16 x 16 brightness, 8-bit, in base64.
    """

    path: str
    part: Part = "whole"
    size_bytes: int = 0
    sha256: str = ""
    fault: str = ""
    found: str = ""
    format: str = ""
    mode: str = ""
    stored_height_px: int = 0
    stored_width_px: int = 0
    orientation: int = 1
    icc_name: str = ""
    jpeg_quality: int = 0
    palette: bool = False
    height_px: int = 0
    width_px: int = 0
    bit_depth: int = 0
    effective_bits: int = 0
    alpha: str = "none"
    grey: bool = False
    mean: float = 0.0
    std: float = 0.0
    darkest: float = 0.0
    brightest: float = 0.0
    black_share: float = 0.0
    white_share: float = 0.0
    flat_rows_share: float = 0.0
    pixels_sha256: str = ""
    phash: str = ""
    thumb: str = ""

    @property
    def extension(self) -> str:
        """Of its name, in lower case, without the dot."""
        return posixpath.splitext(self.path)[1].lstrip(".").lower()

    @property
    def shown_size(self) -> str:
        """Width x height in words."""
        return f"{self.width_px} x {self.height_px}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFacts:
    """What a mask holds.

    Attributes:
        largest: Its largest value, of 255.
        set_share: Share of pixels above half of the largest value.
        between_share: Share of pixels between a tenth and nine tenths of the largest value.
    """

    largest: int
    set_share: float
    between_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFacts:
    """A pair's files, and what they have to do with each other.

    Attributes:
        key: The pair's.
        split: The pair's.
        clean: The clean picture.
        degraded: The degraded picture, or None where the degradation is made.
        mask: The mask, or None.
        mask_facts: What the mask holds, where it could be decoded.
        identical: Whether both pictures have the same pixels.
        psnr_db: Of the degraded picture, where sizes and bit depths agree and the pixels differ.
        correlation: Of the structures, in [-1, 1]; None where the pictures cannot be compared.
        shift_y_px: How far the degraded picture lies below the clean one, in pixels of the clean one.
        shift_x_px: How far it lies to the right.
        shift_response: Of the phase correlation.
        shifted_correlation: Of the structures, the shift undone.
        symmetry: The way of mirroring or turning the degraded picture that fits best; `upright` is none.
        symmetry_correlation: How well it fits.
        upright_correlation: How well the picture as it is fits, at the same small size.
        reliability: How much of the degraded picture's structure is no noise, where the correlation is low.
        leaning: Which side looks degraded: -1 the degraded one, 1 the clean one, 0 neither.
        leaning_reason: By what.
    """

    key: str
    split: str
    clean: FileFacts
    degraded: FileFacts | None = None
    mask: FileFacts | None = None
    mask_facts: MaskFacts | None = None
    identical: bool = False
    psnr_db: float | None = None
    correlation: float | None = None
    shift_y_px: float = 0.0
    shift_x_px: float = 0.0
    shift_response: float = 0.0
    shifted_correlation: float = 0.0
    symmetry: str = "upright"
    symmetry_correlation: float = 0.0
    upright_correlation: float = 0.0
    reliability: float = 1.0
    leaning: int = 0
    leaning_reason: str = ""

    @property
    def sides(self) -> tuple[FileFacts, ...]:
        """The degraded and the clean picture, as far as there are files."""
        return (self.clean,) if self.degraded is None else (self.degraded, self.clean)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can carry them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PairFacts:
        """What `to_dict` gave."""
        files = {side: values[side] and FileFacts(**values[side]) for side in ("clean", "degraded", "mask")}
        mask_facts = values["mask_facts"] and MaskFacts(**values["mask_facts"])
        return cls(**{**values, **files, "mask_facts": mask_facts})


def is_blank(facts: FileFacts) -> bool:
    """Whether a picture has one colour, up to half a step of 8 bits, or of 12 bits in a 16-bit file."""
    return facts.std < (0.5 / 4095 if facts.bit_depth == 16 else 0.5 / 255)
