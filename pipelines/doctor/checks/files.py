"""Checks of one picture at a time: is it what it seems, and is it fit to learn from."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.config import PreprocessConfig
from pipelines.doctor.findings import ERROR, NOTE, WARNING, Hit, Inspection, check, file_check
from pipelines.ops.facts import FileFacts, is_blank

_PICTURES = ("degraded", "clean")
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP"}
_WIDE = ("adobe rgb", "adobergb", "prophoto", "romm", "p3", "2020", "wide gamut", "rec2020")
_STRIP_RATIO = 16
_LEAST_JPEG_QUALITY = 75
_CLIPPED_SHARE = 0.3
_FLAT_ROWS_SHARE = 0.1
_DARK_16_BIT = 1 / 8


@check("too_small", ERROR, expected="at least data.min_side_px a side", remedy="leave it out")
def too_small(inspection: Inspection) -> Iterable[Hit]:
    """A picture smaller than is taken."""
    sides = _PICTURES if inspection.config.source.unpaired else ("clean",)
    for facts in (facts for side in sides for facts in inspection.files[side] if not facts.fault):
        if min(facts.height_px, facts.width_px) < inspection.config.min_side_px:
            yield Hit((facts.path,), f"it has {facts.shown_size} pixels")


@file_check("strip", WARNING, expected="pictures that crops can be cut from", remedy="leave it out", sides=("clean",))
def strip(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A strip, much longer than it is wide."""
    long, short = max(facts.height_px, facts.width_px), min(facts.height_px, facts.width_px)
    return f"it has {facts.shown_size} pixels" if long > _STRIP_RATIO * short else None


@file_check("extension_lies", NOTE, expected="an extension that names the format", remedy="rename it")
def extension_lies(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """An extension of another format than the file's; files are read by content."""
    named = _FORMATS.get(facts.extension, facts.format)
    return f"its extension is .{facts.extension}, and it is {facts.format}" if named != facts.format else None


@file_check(
    "exif_rotation",
    NOTE,
    expected="pictures stored upright",
    remedy="nothing: it is turned when it is read; store it upright for programs that do not",
)
def exif_rotation(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A picture that EXIF says to turn."""
    return f"EXIF orientation {facts.orientation}" if facts.orientation != 1 else None


@file_check(
    "palette", NOTE, expected="full colours", remedy="find the picture before its colours were counted", sides=_PICTURES
)
def palette(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """At most 256 colours, as a GIF has."""
    return "its pixels are indices of a palette" if facts.palette else None


@file_check(
    "alpha_dropped",
    WARNING,
    expected="pictures without transparency",
    remedy="lay it on the background that it belongs on",
    sides=_PICTURES,
)
def alpha_dropped(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """Transparency, which is not kept: what it hid comes into sight."""
    return "parts of it are transparent" if facts.alpha == "used" else None


@file_check(
    "alpha_opaque", NOTE, expected="pictures without transparency", remedy="nothing: it is dropped", sides=_PICTURES
)
def alpha_opaque(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A channel of transparency that hides nothing."""
    return "it has a channel of transparency that hides nothing" if facts.alpha == "opaque" else None


@file_check(
    "sixteen_bit_uses_8", NOTE, expected="16-bit values", remedy="store it in 8 bits: half the size", sides=_PICTURES
)
def sixteen_bit_uses_8(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A 16-bit file of 8-bit values."""
    if facts.bit_depth == 16 and facts.effective_bits <= 8 and facts.brightest >= _DARK_16_BIT:
        return f"it has 16 bits and uses {facts.effective_bits}"
    return None


@file_check(
    "sixteen_bit_dark",
    WARNING,
    expected="values that reach towards 65535",
    remedy="scale the values, such as those of a 12-bit sensor by 16",
    sides=("clean",),
)
def sixteen_bit_dark(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A clean 16-bit picture that is nearly black, as 10- or 12-bit values that nobody scaled."""
    if facts.bit_depth == 16 and facts.brightest < _DARK_16_BIT:
        return f"its largest value is {round(facts.brightest * 65535)} of 65535"
    return None


@file_check(
    "icc_wide_gamut",
    NOTE,
    expected="sRGB",
    remedy="convert it to sRGB: values are taken as they are, so its colours would look pale",
    sides=_PICTURES,
)
def icc_wide_gamut(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """Colours of a space that is wider than sRGB."""
    wide = any(name in facts.icc_name.lower() for name in _WIDE)
    return f"its colour profile is {facts.icc_name!r}" if wide else None


@file_check("blank", WARNING, expected="a picture with something in it", remedy="leave the pair out", sides=_PICTURES)
def blank(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A picture of one colour."""
    return f"all of it has one colour, brightness {facts.mean:.3f}" if is_blank(facts) else None


@file_check(
    "flat_bottom",
    WARNING,
    expected="a picture down to its last line",
    remedy="copy it again, or cut the border off both sides of the pair",
    sides=_PICTURES,
)
def flat_bottom(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A lower part of one colour, as of a file that was cut short and saved again, or a border."""
    if not is_blank(facts) and facts.flat_rows_share >= _FLAT_ROWS_SHARE and facts.mean > 0.1:
        return f"the lowest {facts.flat_rows_share:.0%} of it has one colour"
    return None


@file_check(
    "clipped",
    WARNING,
    expected="a clean picture that is neither black nor white in large parts",
    remedy="leave the pair out, or expose it anew",
    sides=("clean",),
)
def clipped(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A clean picture that is black or white in large parts."""
    if not is_blank(facts) and facts.black_share + facts.white_share > _CLIPPED_SHARE:
        return f"{facts.black_share:.0%} of it is black and {facts.white_share:.0%} white"
    return None


@file_check(
    "low_quality_jpeg",
    WARNING,
    expected=f"a lossless clean picture, or JPEG quality {_LEAST_JPEG_QUALITY} or more",
    remedy="find the original: a network learns to draw the blocks",
    sides=("clean",),
)
def low_quality_jpeg(facts: FileFacts, config: PreprocessConfig) -> str | None:
    """A clean picture with a JPEG's losses."""
    poor = 0 < facts.jpeg_quality < _LEAST_JPEG_QUALITY
    return f"it is a JPEG of quality {facts.jpeg_quality}" if poor else None


@check(
    "grey_among_colour",
    NOTE,
    expected="colour, as the others have",
    remedy="leave it out if it is grey by mistake",
)
def grey_among_colour(inspection: Inspection) -> Iterable[Hit]:
    """A grey clean picture in a set of colour pictures."""
    sound = [facts for facts in inspection.files["clean"] if not facts.fault]
    grey = [facts for facts in sound if facts.grey]
    if len(sound) >= 10 and 0 < len(grey) <= 0.2 * len(sound):
        yield from (Hit((facts.path,), f"it is grey; {len(sound) - len(grey)} others are not") for facts in grey)


@check(
    "bit_depth_mixed",
    NOTE,
    expected="one bit depth in a set",
    remedy="nothing: each pair keeps its own; convert them if the set is to be of one kind",
)
def bit_depth_mixed(inspection: Inspection) -> Iterable[Hit]:
    """A pair of another bit depth than most."""
    sound = [facts for facts in inspection.files["clean"] if not facts.fault]
    deep = [facts for facts in sound if facts.bit_depth == 16]
    few = deep if 2 * len(deep) <= len(sound) else [facts for facts in sound if facts.bit_depth == 8]
    if 0 < len(few) < len(sound):
        others = len(sound) - len(few)
        yield from (Hit((facts.path,), f"it has {facts.bit_depth} bits; {others} others do not") for facts in few)
