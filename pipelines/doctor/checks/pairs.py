"""Checks of one pair at a time: do both sides fit, and do they show the same."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipelines.config import PreprocessConfig
from pipelines.doctor.findings import ERROR, NOTE, WARNING, Hit, Inspection, check, files_of, pair_check
from pipelines.ops.facts import FileFacts, MaskFacts, PairFacts, is_blank

_SHIFT_PX, _SHIFT_SHARE = 2.0, 1 / 400
_SHIFT_GAIN = 0.03
_SAME_SCENE, _UNRELATED = 0.35, 0.15
_SYMMETRY_GAIN = 0.3
_RELIABLE = 0.5
_BARELY_DEGRADED_DB = 50.0
_SRGB = ("", "srgb", "iec61966", "iec 61966")


@pair_check(
    "size_mismatch", ERROR, expected="both sides of one size", remedy="make both sides of one size, or leave them out"
)
def size_mismatch(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Sides of different sizes that are no multiple of each other."""
    return _shown_sizes(pair) if _relation(pair, config) == "other" else None


@pair_check(
    "size_transposed", ERROR, expected="both sides turned alike", remedy="turn one side by 90 degrees, or leave it out"
)
def size_transposed(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Height and width changed places."""
    if _relation(pair, config) != "transposed" or _exif_tells(pair, config):
        return None
    turned = f"; it fits when it is {pair.symmetry}" if _is_turned(pair) else ""
    return _shown_sizes(pair) + turned


@pair_check("size_scale", ERROR, expected="both sides of one size", remedy="set data.source.degraded_scale")
def size_scale(pair: PairFacts, config: PreprocessConfig) -> Hit | None:
    """A clean side that is a whole number of times larger."""
    if _relation(pair, config) != "scaled" or pair.degraded is None:
        return None
    scale = pair.clean.height_px // pair.degraded.height_px
    remedy = f"if the degraded side is meant to be smaller, set data.source.degraded_scale to {scale}"
    return Hit(files_of(pair), f"{_shown_sizes(pair)}: {scale} times as large", remedy=remedy)


@pair_check(
    "exif_one_side",
    WARNING,
    expected="both sides upright",
    remedy="remove the EXIF orientation if the pixels are upright, or turn the pixels and then remove it",
)
def exif_one_side(pair: PairFacts, config: PreprocessConfig) -> Hit | None:
    """EXIF turns one side and not the other, and they do not fit then."""
    if pair.degraded is None or not _exif_tells(pair, config):
        return None
    sizes = _relation(pair, config) != "same"
    found = f"EXIF orientation {pair.degraded.orientation} and {pair.clean.orientation}: one side is turned, {{}}"
    rest = "and the sizes do not fit then" if sizes else "and they do not fit then"
    return Hit(files_of(pair), found.format(rest), severity=ERROR if sizes else None)


@pair_check("bit_depth_differs", ERROR, expected="one bit depth", remedy="convert one side, or leave them out")
def bit_depth_differs(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """8 bits on one side, 16 on the other."""
    if pair.degraded is None or pair.degraded.bit_depth == pair.clean.bit_depth:
        return None
    return f"the degraded side has {pair.degraded.bit_depth} bits, the clean one {pair.clean.bit_depth}"


@pair_check("identical_pair", ERROR, expected="a degraded and a clean picture", remedy="find the other side")
def identical_pair(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """The same pixels on both sides."""
    if not pair.identical or pair.degraded is None:
        return None
    bytewise = pair.degraded.sha256 == pair.clean.sha256 and pair.degraded.path != pair.clean.path
    return "both files are the same, byte for byte" if bytewise else "both sides have the same pixels"


@pair_check("barely_degraded", NOTE, expected="a difference that can be seen", remedy="leave it out if it is a mistake")
def barely_degraded(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Sides that hardly differ."""
    if pair.psnr_db is None or pair.psnr_db < _BARELY_DEGRADED_DB:
        return None
    return f"the sides differ by {pair.psnr_db:.1f} dB PSNR only"


@pair_check(
    "one_side_grey", WARNING, expected="both sides in colour, or both grey", remedy="find the side that lost its colour"
)
def one_side_grey(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Colour on one side only."""
    if pair.degraded is None or pair.degraded.grey == pair.clean.grey or _any_blank(pair):
        return None
    return "the degraded side is grey" if pair.degraded.grey else "the clean side is grey"


@pair_check(
    "icc_differs",
    WARNING,
    expected="one colour space",
    remedy="convert both sides to sRGB: values are taken as they are",
)
def icc_differs(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Colour profiles that differ between the sides."""
    if pair.degraded is None:
        return None
    spaces = [_space(facts.icc_name) for facts in (pair.degraded, pair.clean)]
    names = [facts.icc_name or "none" for facts in (pair.degraded, pair.clean)]
    return f"the colour profiles are {names[0]!r} and {names[1]!r}" if spaces[0] != spaces[1] else None


@pair_check(
    "misaligned",
    WARNING,
    expected="sides that lie on each other, to a pixel",
    remedy="align the pair, or leave it out: a network learns to move and to blur",
)
def misaligned(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """One side shifted against the other."""
    if pair.correlation is None or _is_turned(pair):
        return None
    shift = math.hypot(pair.shift_y_px, pair.shift_x_px)
    least = max(_SHIFT_PX, _SHIFT_SHARE * max(pair.clean.height_px, pair.clean.width_px))
    fits = pair.shifted_correlation >= max(_SAME_SCENE, pair.correlation + _SHIFT_GAIN)
    if shift < least or not fits:
        return None
    down, right = ("down" if pair.shift_y_px > 0 else "up"), ("right" if pair.shift_x_px > 0 else "left")
    return (
        f"the degraded side is shifted by {shift:.1f} pixels ({abs(pair.shift_x_px):.1f} {right}, "
        f"{abs(pair.shift_y_px):.1f} {down}); undone, the structures' correlation rises from "
        f"{pair.correlation:.2f} to {pair.shifted_correlation:.2f}"
    )


@pair_check("turned_partner", WARNING, expected="both sides turned alike", remedy="turn or mirror one side back")
def turned_partner(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """One side mirrored or turned."""
    if not _is_turned(pair) or _exif_tells(pair, config) or _relation(pair, config) in {"other", "transposed"}:
        return None
    return (
        f"the degraded side fits the clean one when it is {pair.symmetry} (correlation "
        f"{pair.symmetry_correlation:.2f}, as it is {pair.upright_correlation:.2f})"
    )


@pair_check("unrelated_partner", WARNING, expected="two pictures of one scene", remedy="find the right partner")
def unrelated_partner(pair: PairFacts, config: PreprocessConfig) -> str | None:
    """Sides that show different scenes."""
    if pair.correlation is None or pair.identical or _any_blank(pair):
        return None
    best = max(pair.correlation, pair.shifted_correlation, pair.symmetry_correlation - _SYMMETRY_GAIN / 2)
    if best >= _UNRELATED or pair.reliability < _RELIABLE:
        return None
    return f"the sides show different scenes (the structures' correlation is {pair.correlation:.2f})"


@check("mask_size", ERROR, expected="a mask of the clean picture's size", remedy="find the right mask, or resize it")
def mask_size(inspection: Inspection) -> Iterator[Hit]:
    """A mask of another size."""
    for pair, mask, _ in _masked(inspection):
        if (mask.height_px, mask.width_px) != (pair.clean.height_px, pair.clean.width_px):
            yield Hit(
                (mask.path, pair.clean.path),
                f"the mask has {mask.shown_size} pixels, the clean picture {pair.clean.shown_size}",
            )


@check("mask_not_binary", NOTE, expected="black and white", remedy="threshold it if it is meant to be hard")
def mask_not_binary(inspection: Inspection) -> Iterator[Hit]:
    """A mask with greys between black and white."""
    for _, mask, held in _masked(inspection):
        if held.between_share > 0.02:
            yield Hit((mask.path,), f"{held.between_share:.0%} of it is neither black nor white")


@check("mask_empty", WARNING, expected="a mask that marks something", remedy="leave the pair out, or find its mask")
def mask_empty(inspection: Inspection) -> Iterator[Hit]:
    """A black mask."""
    yield from (Hit((mask.path,), "nothing is marked") for _, mask, held in _masked(inspection) if not held.largest)


@check("mask_full", WARNING, expected="a mask that leaves something out", remedy="leave the pair out, or find its mask")
def mask_full(inspection: Inspection) -> Iterator[Hit]:
    """A white mask."""
    for _, mask, held in _masked(inspection):
        if held.largest and held.set_share > 0.999:
            yield Hit((mask.path,), "all of it is marked")


@check("mask_dark", WARNING, expected="values from 0 to 255", remedy="multiply the values so that 255 means marked")
def mask_dark(inspection: Inspection) -> Iterator[Hit]:
    """A mask whose marks are nearly black, as those of 0 and 1."""
    for _, mask, held in _masked(inspection):
        if 0 < held.largest < 128:
            yield Hit((mask.path,), f"its largest value is {held.largest} of 255")


def _masked(inspection: Inspection) -> Iterator[tuple[PairFacts, FileFacts, MaskFacts]]:
    for pair in inspection.sound_pairs:
        if pair.mask is not None and pair.mask_facts is not None:
            yield pair, pair.mask, pair.mask_facts


def _relation(pair: PairFacts, config: PreprocessConfig) -> str:
    """How the sizes go together: `same`, `transposed`, `scaled` or `other`."""
    if pair.degraded is None:
        return "same"
    scale = config.source.degraded_scale
    has = (pair.degraded.height_px * scale, pair.degraded.width_px * scale)
    wants = (pair.clean.height_px, pair.clean.width_px)
    if has == wants:
        return "same"
    if has == wants[::-1]:
        return "transposed"
    factor = wants[0] // pair.degraded.height_px
    whole = factor > 1 and (pair.degraded.height_px * factor, pair.degraded.width_px * factor) == wants
    return "scaled" if whole else "other"


def _shown_sizes(pair: PairFacts) -> str:
    degraded = pair.degraded.shown_size if pair.degraded else "?"
    return f"the degraded side has {degraded} pixels, the clean one {pair.clean.shown_size}"


def _is_turned(pair: PairFacts) -> bool:
    fits = pair.symmetry_correlation >= max(_SAME_SCENE, pair.upright_correlation + _SYMMETRY_GAIN)
    return pair.symmetry != "upright" and fits and not pair.identical


def _exif_tells(pair: PairFacts, config: PreprocessConfig) -> bool:
    """Whether EXIF turns one side only, and the sides do not fit then."""
    if pair.degraded is None or pair.degraded.orientation == pair.clean.orientation:
        return False
    return _is_turned(pair) or _relation(pair, config) == "transposed"


def _any_blank(pair: PairFacts) -> bool:
    return any(is_blank(facts) for facts in pair.sides)


def _space(icc_name: str) -> str:
    name = icc_name.lower()
    return "srgb" if any(known and known in name for known in _SRGB) or not name else name
