"""Paired sets that tests make: one without a fault, and one with a fault of nearly every kind that the doctor knows."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from pipelines.config import PreprocessConfig, SourceConfig
from tests.unit.pipelines.pictures import encoded, encoded_16
from tests.unit.pipelines.scenes import SIZE, Pixels, darkened, mask_of, scene

Expected = dict[str, set[str]]
TEMPLATES = {
    "degraded": "{split}/low/{id}.{ext}",
    "clean": "{split}/high/{id}.{ext}",
    "mask": "{split}/mask/{id}.{ext}",
}


def config_of(root: Path, **source: Any) -> PreprocessConfig:
    """What the corpora are made for; the limits are small, so that exceeding them takes little."""
    given = {"root": str(root), "val_share": 0.0, **TEMPLATES, **source}
    return PreprocessConfig(source=SourceConfig(**given), max_pixels=1_000_000, max_file_bytes=2_000_000)


# ---- files ----


class Corpus:
    """A folder of pairs, and what was done to it.

    Args:
        root: A new folder.
        seed: Another one makes other pictures.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.expected: Expected = {}

    def scene(self, name: str, size: tuple[int, int] = SIZE) -> Pixels:
        return scene(f"{self.seed} {name}", size)

    def write(self, path: str, data: bytes) -> str:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return path

    def pair(
        self,
        key: str,
        *,
        split: str = "train",
        clean: bytes | Pixels | None = None,
        degraded: bytes | Pixels | None = None,
        mask: bytes | Pixels | None = None,
        extension: str = "png",
    ) -> tuple[str, str]:
        """Write a pair with its mask; what is not given is sound. Gives the names of both sides."""
        pixels = clean if isinstance(clean, np.ndarray) else self.scene(key)
        degraded = darkened(pixels[..., :3], key) if degraded is None else degraded
        mask = mask_of(pixels.shape[:2]) if mask is None else mask
        names = (f"{split}/low/{key}.{extension}", f"{split}/high/{key}.{extension}", f"{split}/mask/{key}.png")
        for name, side in zip(names, (degraded, pixels if clean is None else clean, mask), strict=True):
            self.write(name, encoded(side, compress_level=1) if isinstance(side, np.ndarray) else side)
        return names[0], names[1]

    def expect(self, kind: str, *files: str) -> None:
        self.expected.setdefault(kind, set()).update(files)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).unlink()


def write_clean(root: Path, seed: int = 0) -> PreprocessConfig:
    """Twenty-four pairs with masks, in two splits, without a fault."""
    corpus = Corpus(root, seed)
    for number in range(24):
        corpus.pair(f"{number:03d}", split="test" if number % 4 == 3 else "train")
    return config_of(root)


FAULTS: dict[str, Callable[[Corpus], None]] = {}
"""By kind, what makes the fault and says what must be found."""


def _fault(make: Callable[[Corpus], None]) -> Callable[[Corpus], None]:
    FAULTS[make.__name__] = make
    return make


def write_faulty(root: Path, seed: int = 0) -> Expected:
    """Sound pairs, and one fault of each kind in `FAULTS`.

    Returns:
        Kind -> the files that findings of that kind must name.
    """
    corpus = Corpus(root, seed)
    for number in range(36):
        corpus.pair(f"{number:03d}", split="test" if number % 6 == 5 else "train")
    for make in FAULTS.values():
        make(corpus)
    return corpus.expected


# ---- names ----


@_fault
def orphan_degraded(corpus: Corpus) -> None:
    low, high = corpus.pair("orphan_degraded")
    corpus.remove(high)
    corpus.expect("orphan_degraded", low)
    low, high = corpus.pair("folder_in_place")
    corpus.remove(high)
    corpus.write(f"{high}/inside.txt", b"a folder that is named like a picture")
    corpus.expect("orphan_degraded", low)


@_fault
def orphan_clean(corpus: Corpus) -> None:
    low, high = corpus.pair("orphan_clean")
    corpus.remove(low, "train/mask/orphan_clean.png")
    corpus.expect("orphan_clean", high)


@_fault
def missing_mask(corpus: Corpus) -> None:
    low, _ = corpus.pair("missing_mask")
    corpus.remove("train/mask/missing_mask.png")
    corpus.expect("missing_mask", low)


@_fault
def duplicate_key(corpus: Corpus) -> None:
    low, high = corpus.pair("duplicate_key")
    double = corpus.write("train/low/duplicate_key.jpg", encoded(corpus.scene("other"), "JPEG"))
    corpus.expect("duplicate_key", low, double)
    corpus.expect("ambiguous_partner", high, "train/mask/duplicate_key.png")


@_fault
def name_not_utf8(corpus: Corpus) -> None:
    path = Path(os.fsdecode(os.fsencode(corpus.root) + b"/train/high/bad\xff.png"))
    path.write_bytes(encoded(corpus.scene("bad")))
    corpus.expect("name_not_utf8", r"train/high/bad\udcff.png")


@_fault
def names_differ_in_case(corpus: Corpus) -> None:
    for one, two in zip(corpus.pair("Case"), corpus.pair("case"), strict=True):
        corpus.expect("names_differ_in_case", one, two)
    corpus.expect("names_differ_in_case", "train/mask/Case.png", "train/mask/case.png")


@_fault
def irregular_file(corpus: Corpus) -> None:
    for key, kind in (("pipe", "irregular_file"), ("nowhere", "irregular_file"), ("outside", "link_leads_out")):
        low, high = corpus.pair(key)
        path = corpus.root / low
        outside = corpus.root.parent / f"{corpus.root.name}-outside.png"
        path.rename(outside)
        if key == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(outside if key == "outside" else corpus.root / "gone.png")
        corpus.expect(kind, low)
        corpus.expect("orphan_clean", high)
        corpus.expect("orphan_mask", f"train/mask/{key}.png")


@_fault
def unmatched_file(corpus: Corpus) -> None:
    corpus.expect("unmatched_file", corpus.write("cover.png", encoded(corpus.scene("cover"))))


# ---- bytes ----


def _bad_clean(kind: str, make: Callable[[Corpus], bytes]) -> None:
    """Register a fault of the clean file alone."""

    def seed(corpus: Corpus) -> None:
        _, high = corpus.pair(kind, clean=make(corpus))
        corpus.expect(kind.partition("-")[0], high)

    FAULTS[kind] = seed


def _header_of(width: int, height: int, png: bytes) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def _flipped(png: bytes) -> bytes:
    """A bit of the pixels turned, in the middle."""
    data = bytearray(png)
    data[len(data) // 2] ^= 0x10
    return bytes(data)


def _frames(corpus: Corpus, image_format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(corpus.scene(f"frame {number}")) for number in range(2)]
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _converted(pixels: Pixels, mode: str, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


_bad_clean("zero_bytes", lambda corpus: b"")
_bad_clean("not_a_picture", lambda corpus: b"<html>404: not found</html>")
_bad_clean("unsupported_format-gif", lambda corpus: _converted(corpus.scene("gif"), "P", "GIF"))
_bad_clean("unsupported_format-psd", lambda corpus: b"8BPS\x00\x01" + bytes(40))
_bad_clean("unsupported_format-heic", lambda corpus: b"\x00\x00\x00\x18ftypheic" + bytes(40))
_bad_clean("truncated-png", lambda corpus: encoded(corpus.scene("cut"))[:9000])
_bad_clean("truncated-jpeg", lambda corpus: encoded(corpus.scene("cut"), "JPEG", quality=95)[:3000])
_bad_clean("truncated-webp", lambda corpus: encoded(corpus.scene("cut"), "WEBP", lossless=True)[:3000])
_bad_clean("truncated-bmp", lambda corpus: encoded(corpus.scene("cut"), "BMP")[:3000])
_bad_clean("damaged", lambda corpus: _flipped(encoded(corpus.scene("bit"))))
_bad_clean("header_lies-more", lambda corpus: _header_of(168, 160, encoded(corpus.scene("lie"))))
_bad_clean("header_lies-bomb", lambda corpus: _header_of(60_000, 60_000, encoded(corpus.scene("lie"))))
_bad_clean("animated-webp", lambda corpus: _frames(corpus, "WEBP"))
_bad_clean("animated-png", lambda corpus: _frames(corpus, "PNG"))
_bad_clean("animated-tiff", lambda corpus: _frames(corpus, "TIFF"))
_bad_clean("too_many_pixels", lambda corpus: encoded(np.tile(corpus.scene("wide"), (9, 6, 1))))
_bad_clean("cmyk", lambda corpus: _converted(corpus.scene("ink"), "CMYK", "JPEG"))
_bad_clean("unsupported_mode", lambda corpus: _converted(corpus.scene("float")[..., 0], "F", "TIFF"))


@_fault
def too_many_bytes(corpus: Corpus) -> None:
    low, high = corpus.pair("too_many_bytes", clean=encoded(np.tile(corpus.scene("heavy"), (6, 6, 1)), "BMP"))
    corpus.expect("too_many_bytes", high)
    corpus.expect("orphan_degraded", low)


# ---- pictures that are not what they should be ----


@_fault
def too_small(corpus: Corpus) -> None:
    clean = np.ascontiguousarray(corpus.scene("too_small")[:12, :15])
    _, high = corpus.pair("too_small", clean=clean)
    corpus.expect("too_small", high)


@_fault
def strip(corpus: Corpus) -> None:
    _, high = corpus.pair("strip", clean=corpus.scene("strip", (20, 2000)))
    corpus.expect("strip", high)


@_fault
def extension_lies(corpus: Corpus) -> None:
    _, high = corpus.pair("extension_lies", clean=encoded(corpus.scene("extension_lies"), "JPEG", quality=95))
    corpus.expect("extension_lies", high)


def _with_exif(pixels: Pixels, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, "PNG", exif=exif)


@_fault
def exif_rotation(corpus: Corpus) -> None:
    clean = corpus.scene("exif_rotation")
    dark = darkened(clean, "exif_rotation")
    mask = mask_of((SIZE[1], SIZE[0]))
    low, high = corpus.pair("exif_rotation", clean=_with_exif(clean, 6), degraded=_with_exif(dark, 6), mask=mask)
    corpus.expect("exif_rotation", low, high)


@_fault
def exif_one_side(corpus: Corpus) -> None:
    for key, orientation, size in (("exif_one_side", 6, (SIZE[1], SIZE[0])), ("exif_half_turn", 3, SIZE)):
        low, high = corpus.pair(key, clean=_with_exif(corpus.scene(key), orientation), mask=mask_of(size))
        corpus.expect("exif_one_side", low, high)
        corpus.expect("exif_rotation", high)


@_fault
def palette(corpus: Corpus) -> None:
    _, high = corpus.pair("palette", clean=_converted(corpus.scene("palette"), "P", "PNG"))
    corpus.expect("palette", high)


@_fault
def alpha(corpus: Corpus) -> None:
    clean = corpus.scene("alpha_dropped")
    ramp = np.broadcast_to(np.linspace(90, 255, clean.shape[1]).astype(np.uint8)[None, :, None], (*SIZE, 1))
    _, high = corpus.pair("alpha_dropped", clean=encoded(np.dstack([clean, ramp])))
    corpus.expect("alpha_dropped", high)
    clean = corpus.scene("alpha_opaque")
    _, high = corpus.pair("alpha_opaque", clean=encoded(np.dstack([clean, np.full_like(ramp, 255)])))
    corpus.expect("alpha_opaque", high)


@_fault
def sixteen_bits(corpus: Corpus) -> None:
    clean = corpus.scene("sixteen_bit_uses_8").astype(np.uint16)
    dark = darkened(clean, "sixteen_bit_uses_8").astype(np.uint16)
    deep = dark * 257 + np.arange(dark.size, dtype=np.uint16).reshape(dark.shape) % 256
    _, high = corpus.pair("sixteen_bit_uses_8", clean=encoded_16(clean * 257), degraded=encoded_16(deep))
    corpus.expect("sixteen_bit_uses_8", high)
    clean = corpus.scene("sixteen_bit_dark").astype(np.uint16) * 16
    _, dim = corpus.pair("sixteen_bit_dark", clean=encoded_16(clean), degraded=encoded_16(clean // 5 + 3))
    corpus.expect("sixteen_bit_dark", dim)
    corpus.expect("bit_depth_mixed", high, dim)


@_fault
def bit_depth_differs(corpus: Corpus) -> None:
    clean = corpus.scene("bit_depth_differs")
    dark = darkened(clean, "bit_depth_differs").astype(np.uint16) * 256 + 100
    dark[0, 0] = 1
    low, high = corpus.pair("bit_depth_differs", degraded=encoded_16(dark))
    corpus.expect("bit_depth_differs", low, high)


def wide_profile() -> bytes:
    """An sRGB profile that calls itself Adobe RGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace("sRGB built-in".encode("utf-16-be"), "Adobe RGB 98 ".encode("utf-16-be"))


@_fault
def icc(corpus: Corpus) -> None:
    clean = corpus.scene("icc_wide_gamut")
    wide, dark = (encoded(side, "PNG", icc_profile=wide_profile()) for side in (clean, darkened(clean, "icc")))
    corpus.expect("icc_wide_gamut", *corpus.pair("icc_wide_gamut", clean=wide, degraded=dark))
    clean_only = encoded(corpus.scene("icc_differs"), "PNG", icc_profile=wide_profile())
    low, high = corpus.pair("icc_differs", clean=clean_only)
    corpus.expect("icc_differs", low, high)
    corpus.expect("icc_wide_gamut", high)


@_fault
def blank(corpus: Corpus) -> None:
    low, _ = corpus.pair("blank", degraded=np.full((*SIZE, 3), 17, np.uint8))
    corpus.expect("blank", low)


@_fault
def flat_bottom(corpus: Corpus) -> None:
    clean = corpus.scene("flat_bottom")
    clean[80:] = 128
    _, high = corpus.pair("flat_bottom", clean=clean)
    corpus.expect("flat_bottom", high)


@_fault
def clipped(corpus: Corpus) -> None:
    clean = np.clip(corpus.scene("clipped") * 2.4 - 100, 0, 255).astype(np.uint8)
    clean[:60, :130] = 255
    _, high = corpus.pair("clipped", clean=clean)
    corpus.expect("clipped", high)


@_fault
def low_quality_jpeg(corpus: Corpus) -> None:
    data = encoded(corpus.scene("low_quality_jpeg"), "JPEG", quality=30)
    _, high = corpus.pair("low_quality_jpeg", clean=data, extension="jpg", degraded=encoded(
        darkened(corpus.scene("low_quality_jpeg"), "jpeg"), "JPEG", quality=95))  # fmt: skip
    corpus.expect("low_quality_jpeg", high)


@_fault
def grey(corpus: Corpus) -> None:
    clean = np.repeat(corpus.scene("grey_among_colour")[..., :1], 3, axis=2)
    dark = np.repeat(darkened(clean, "grey")[..., :1], 3, axis=2)
    _, high = corpus.pair("grey_among_colour", clean=clean, degraded=encoded(dark[..., 0]))
    corpus.expect("grey_among_colour", high)
    dark = np.repeat(darkened(corpus.scene("one_side_grey"), "grey")[..., :1], 3, axis=2)
    corpus.expect("one_side_grey", *corpus.pair("one_side_grey", degraded=dark))


# ---- sides that do not fit ----


@_fault
def sizes(corpus: Corpus) -> None:
    dark = darkened(corpus.scene("size_mismatch"), "size")
    corpus.expect("size_mismatch", *corpus.pair("size_mismatch", degraded=np.ascontiguousarray(dark[:-7])))
    dark = darkened(corpus.scene("size_transposed"), "size")
    turned = np.ascontiguousarray(np.rot90(dark))
    corpus.expect("size_transposed", *corpus.pair("size_transposed", degraded=turned))
    dark = darkened(corpus.scene("size_scale"), "size")
    small = cv2.resize(dark, (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA)
    corpus.expect("size_scale", *corpus.pair("size_scale", degraded=np.asarray(small)))


@_fault
def identical_pair(corpus: Corpus) -> None:
    clean = corpus.scene("identical_pair")
    corpus.expect("identical_pair", *corpus.pair("identical_pair", degraded=clean))
    corpus.expect("identical_pair", *corpus.pair("identical_pixels", degraded=encoded(corpus.scene(
        "identical_pixels"), "TIFF")))  # fmt: skip
    corpus.expect("extension_lies", "train/low/identical_pixels.png")


@_fault
def barely_degraded(corpus: Corpus) -> None:
    clean = corpus.scene("barely_degraded")
    nearly = clean.copy()
    nearly[::7, ::5] += 1
    corpus.expect("barely_degraded", *corpus.pair("barely_degraded", degraded=nearly))


@_fault
def misaligned(corpus: Corpus) -> None:
    wide = corpus.scene("misaligned", (SIZE[0] + 10, SIZE[1] + 10))
    clean, moved = (np.ascontiguousarray(wide[y : y + SIZE[0], x : x + SIZE[1]]) for y, x in ((0, 0), (3, 5)))
    corpus.expect("misaligned", *corpus.pair("misaligned", clean=clean, degraded=darkened(moved, "moved")))


@_fault
def turned_partner(corpus: Corpus) -> None:
    dark = darkened(corpus.scene("mirrored"), "mirrored")
    corpus.expect("turned_partner", *corpus.pair("mirrored", degraded=np.ascontiguousarray(dark[:, ::-1])))
    dark = darkened(corpus.scene("half_turn"), "half_turn")
    corpus.expect("turned_partner", *corpus.pair("half_turn", degraded=np.ascontiguousarray(dark[::-1, ::-1])))


@_fault
def unrelated_partner(corpus: Corpus) -> None:
    dark = darkened(corpus.scene("another scene"), "unrelated")
    corpus.expect("unrelated_partner", *corpus.pair("unrelated_partner", degraded=dark))


@_fault
def swapped_pair(corpus: Corpus) -> None:
    clean = corpus.scene("swapped_pair")
    corpus.expect("swapped_pair", *corpus.pair("swapped_pair", clean=darkened(clean, "swap"), degraded=clean))


@_fault
def masks(corpus: Corpus) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, SIZE[1]).astype(np.uint8), SIZE)
    faulty = {
        "mask_size": np.ascontiguousarray(mask_of()[:-9]),
        "mask_not_binary": np.ascontiguousarray(ramp),
        "mask_empty": np.zeros(SIZE, np.uint8),
        "mask_full": np.full(SIZE, 255, np.uint8),
        "mask_dark": mask_of() // 255,
    }
    for kind, mask in faulty.items():
        _, high = corpus.pair(kind, mask=mask)
        corpus.expect(kind, f"train/mask/{kind}.png", *([high] if kind == "mask_size" else []))


# ---- sets that contradict themselves ----


@_fault
def duplicates(corpus: Corpus) -> None:
    clean = corpus.scene("duplicate")
    dark = darkened(clean, "duplicate")
    for number in range(2):
        corpus.expect("duplicate_pair", *corpus.pair(f"duplicate_pair_{number}", clean=clean, degraded=dark))
    clean = corpus.scene("conflict")
    dark = darkened(clean, "conflict")
    brighter = np.clip(clean * 1.15, 0, 247).astype(np.uint8)
    for number, side in enumerate((clean, brighter)):
        corpus.expect("conflicting_clean", *corpus.pair(f"conflict_{number}", clean=side, degraded=dark))
    clean = corpus.scene("repeated")
    for number in range(2):
        dark = darkened(clean // (number + 1), f"repeated {number}")
        corpus.expect("repeated_clean", corpus.pair(f"repeated_{number}", clean=clean, degraded=dark)[1])


@_fault
def leaks(corpus: Corpus) -> None:
    clean = corpus.scene("leak_exact")
    dark = darkened(clean, "leak_exact")
    corpus.expect("leak_exact", *corpus.pair("leak_exact", clean=clean, degraded=dark))
    again, dim = (encoded(side, "BMP") for side in (clean, dark))
    corpus.expect("leak_exact", *corpus.pair("leaked", split="test", extension="bmp", clean=again, degraded=dim))
    clean = corpus.scene("leak_near", (240, 336))
    _, high = corpus.pair("leak_near", clean=clean)
    small = np.clip(cv2.resize(clean, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_AREA) * 1.1, 0, 247).astype(np.uint8)
    again, dim = encoded(small, "JPEG", quality=85), encoded(darkened(small, "near"), "JPEG", quality=90)
    _, other = corpus.pair("nearly", split="test", extension="jpg", clean=again, degraded=dim)
    corpus.expect("leak_near", high, other)
