"""Pictures that mean harm, or were damaged on the way, and folders full of them beside good pairs."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.ops.png import SIGNATURE
from tests.unit.pipelines.archives import zipped
from tests.unit.pipelines.pictures import encoded, encoded_16, photograph, write_pairs

MAX_PIXELS = 4_000_000
NUM_GOOD = 30
SMALL = photograph(48, 56)
BOMB_BYTES = 8192 * 8192 * 3
Entry = tuple[int, int, int, bytes]


def config_of(root: Path | str) -> PreprocessConfig:
    """Small limits, so that exceeding them takes little."""
    templates = ("{split}/low/{id}.{ext}", "{split}/high/{id}.{ext}")
    return PreprocessConfig(
        source=SourceConfig(root=str(root), degraded=templates[0], clean=templates[1], val_share=0.0),
        max_pixels=MAX_PIXELS,
        max_file_bytes=8_000_000,
        max_unpacked_bytes=20_000_000,
        max_quarantined_share=0.95,
        pictures_per_shard=40,
    )


@lru_cache
def zeros(num_bytes: int) -> bytes:
    """So many zeros, packed to a thousandth."""
    pack, piece = zlib.compressobj(9), bytes(1 << 20)
    packed = [pack.compress(piece[: min(len(piece), num_bytes - at)]) for at in range(0, num_bytes, len(piece))]
    return b"".join([*packed, pack.flush()])


# ---- PNG ----


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def ihdr(width: int, height: int, *, bits: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, rows: bytes = b"", more: bytes = b"",
        behind: bytes = b"") -> bytes:  # fmt: skip
    """A black PNG with more chunks before or behind the pixels; the rows may be others than the header asks for."""
    honest = height * (1 + (width * bits * {0: 1, 2: 3}[colour] + 7) // 8)
    pixels = chunk(b"IDAT", rows or zeros(honest))
    return SIGNATURE + ihdr(width, height, bits=bits, colour=colour) + more + pixels + behind + chunk(b"IEND")


def with_header(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose header tells another size than it has."""
    return data[:8] + ihdr(width, height) + data[33:]


def exif(num_bytes: int, *, orientation: int = 1) -> bytes:
    """An EXIF block with an orientation and one tag of numbers."""
    count = (num_bytes - 38) // 2
    tags = struct.pack(">HHHLHH", 2, 0x0112, 3, 1, orientation, 0) + struct.pack(">HHLL", 40000, 3, count, 38)
    return b"MM\0*\0\0\0\x08" + tags + bytes(4) + b"\x12\x34" * count


# ---- TIFF ----


def entry(tag: int, *values: int, kind: int = 4) -> Entry:
    """A tag of SHORTs (3), LONGs (4) or RATIONALs (5, each of two values)."""
    layout = {3: "H", 4: "L", 5: "L"}[kind]
    return tag, kind, len(values) // (2 if kind == 5 else 1), struct.pack(f"<{len(values)}{layout}", *values)


def directory(entries: Iterable[Entry], at: int, following: int = 0) -> bytes:
    """A directory at a place in the file, its longer values behind it."""
    entries = sorted(entries)
    head, values = struct.pack("<H", len(entries)), b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<L", behind + len(values))
        head += struct.pack("<HHL", tag, kind, count) + place
        values += value if len(value) > 4 else b""
    return head + struct.pack("<L", following) + values


def tiff(*more: Entry, bits: int = 8, compression: int = 1, data: bytes | None = None, tile_px: int = 0,
         following: int = 0, at: int | None = None) -> bytes:  # fmt: skip
    """A black TIFF of 64 x 64 RGB pixels, with other tags; `at` lies about where its pixels are."""
    data = bytes(64 * 64 * 3 * bits // 8) if data is None else data

    def built(offset: int) -> bytes:
        names = (324, 325) if tile_px else (273, 279)
        place = [entry(names[0], offset), entry(names[1], len(data))]
        place += [entry(322, tile_px), entry(323, tile_px)] if tile_px else [entry(278, 64)]
        size = [entry(256, 64), entry(257, 64), entry(258, bits, bits, bits, kind=3), entry(259, compression, kind=3)]
        return directory([*size, entry(262, 2, kind=3), entry(277, 3, kind=3), *place, *more], 8, following)

    offset = 8 + len(built(0)) if at is None else at
    return b"II*\0\x08\0\0\0" + built(offset) + data


def directories(number: int) -> bytes:
    """A TIFF of so many pages, all of them empty but the first."""
    first = tiff(following=20_000).ljust(20_000, b"\0")
    places = (20_000 + 6 * page for page in range(1, number - 1))
    return first + b"".join(struct.pack("<HL", 0, place) for place in places) + bytes(6)


# ---- JPEG, WebP, BMP and others ----


def saved(pixels: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, image_format, **options)
    return buffer.getvalue()


def frames(image_format: str) -> bytes:
    pages = [Image.fromarray(photograph(48, 56, seed=seed)) for seed in range(3)]
    return saved(pages[0], image_format, save_all=True, append_images=pages[1:])


def jpeg(more: bytes = b"") -> bytes:
    """A JPEG with more segments at its beginning."""
    data = encoded(SMALL, "JPEG")
    return data[:2] + more + data[2:]


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_claims(width: int, height: int) -> bytes:
    data = jpeg()
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def scans(number: int) -> bytes:
    """A progressive JPEG with its last pass over and over again."""
    data = saved(Image.new("RGB", (1600, 1600)), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * number + data[end:]


def riff(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("<L", len(content)) + content + b"\0" * (len(content) % 2)


def webp(*more: bytes, width: int = 56, height: int = 48, flags: int = 0) -> bytes:
    """A WebP in the long form, with more chunks at its end."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + encoded(SMALL, "WEBP")[12:] + b"".join(more)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def changed(data: bytes, place: int, layout: str, *values: int) -> bytes:
    """A file with other numbers at a place."""
    return data[:place] + struct.pack(layout, *values) + data[place + struct.calcsize(layout) :]


def run_lengths(width: int, height: int, codes: bytes) -> bytes:
    """A BMP in run lengths."""
    header = struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    return b"BM" + struct.pack("<LLL", 1078 + len(codes), 0, 1078) + header + bytes(1024) + codes


def cut(image_format: str, **options: object) -> bytes:
    return encoded(photograph(120, 140), image_format, **options)[:900]


Build = Callable[[], bytes]
_lying = "(claims|has) .*pixels"
PICTURES: dict[str, tuple[Build, str]] = {
    # a small file of a huge picture, and a huge picture that is what it says
    "bomb.png": (lambda: png(60_000, 60_000, rows=zeros(1 << 20)), "claims too many pixels"),
    "honest.png": (lambda: png(20_000, 20_000, bits=1, colour=0), "claims too many pixels"),
    "turned.png": (
        lambda: png(13_000, 13_000, bits=1, colour=0, behind=chunk(b"eXIf", exif(100, orientation=6))),
        "13000 x 13000 pixels",
    ),
    "vast.jpg": (lambda: jpeg_claims(65_535, 65_535), "claims too many pixels"),
    "vast.webp": (lambda: webp(width=1 << 24, height=200), "claims too many pixels"),
    "vast.bmp": (lambda: changed(encoded(SMALL, "BMP"), 18, "<ll", 2**31 - 1, 2**31 - 1), "claims too many pixels"),
    "vast.tif": (lambda: tiff().replace(entry(256, 64)[3], struct.pack("<L", 99_999), 1), _lying),
    "negative.bmp": (lambda: changed(encoded(SMALL, "BMP"), 18, "<l", -56), "claims too many pixels"),
    # more unpacks than the header asks for
    "behind.png": (lambda: png(64, 64, rows=zeros(BOMB_BYTES)), "its packed rows have"),
    "behind16.png": (lambda: png(64, 64, bits=16, rows=zeros(BOMB_BYTES)), "its packed rows have"),
    "tile.tif": (lambda: tiff(compression=8, tile_px=8192, data=zeros(BOMB_BYTES)), "its tiles have 8192 x 8192"),
    "tile16.tif": (lambda: tiff(bits=16, compression=8, tile_px=8192, data=zeros(BOMB_BYTES * 2)), "its tiles have"),
    "iccp.png": (lambda: png(64, 64, more=chunk(b"iCCP", b"x\0\0" + zeros(1 << 26))), "too large"),
    "ztxt.png": (lambda: png(64, 64, more=chunk(b"zTXt", b"x\0\0" + zeros(1 << 26))), "too large"),
    "itxt.png": (lambda: png(64, 64, behind=chunk(b"iTXt", b"x\0\1\0\0\0" + zeros(1 << 26))), "too large"),
    "texts.png": (
        lambda: png(64, 64, more=b"".join(chunk(b"zTXt", b"%d\0\0" % n + zeros(1 << 19)) for n in range(300))),
        "[Tt]oo much memory",
    ),
    # little is unpacked, and much is made of it
    "exif.png": (lambda: png(64, 64, more=chunk(b"eXIf", exif(2_000_000))), "its EXIF block has 2000000 bytes"),
    "exif.webp": (lambda: webp(riff(b"EXIF", exif(2_000_000)), flags=8), "its EXIF block has 2000000 bytes"),
    "exif.jpg": (lambda: jpeg(segment(0xE1, b"Exif\0\0" + exif(60_000)) * 30), "its EXIF block has"),
    "numbers.tif": (lambda: tiff((40_000, 3, 2_000_000, b"\x12\x34" * 2_000_000)), "more numbers"),
    "fractions.tif": (lambda: tiff(entry(40_000, *range(1_000_000), kind=5)), "more numbers"),
    # nothing is unpacked, and it takes long
    "chunks.png": (lambda: png(64, 64, more=chunk(b"prVt") * 300_000), "more than 250000 parts"),
    "markers.jpg": (lambda: jpeg(segment(0xE5) * 300_000), "more than 20000 parts"),
    "padding.jpg": (lambda: jpeg(b"\xff" * 2_000_000), "more than 20000 parts"),
    "scans.jpg": (lambda: scans(2000), "more than 100 passes"),
    "chunks.webp": (lambda: webp(riff(b"ABCD") * 100_000), "more than 20000 parts"),
    "pages.tif": (lambda: directories(100_000), "more than 1000 pages"),
    "runs.bmp": (lambda: run_lengths(2000, 2000, b"\0\0" * 2_500_000), "in run lengths"),
    # headers that are not true
    "lies.png": (lambda: with_header(png(64, 64), 64, 640), "holds fewer"),
    "two.png": (lambda: png(64, 64, bits=16, more=ihdr(20_000, 20_000, bits=16)), "it has 2 headers"),
    "outside.tif": (lambda: tiff(at=1 << 30), "truncated or damaged"),
    "circle.tif": (lambda: tiff(following=8), "round in a circle"),
    "twice.tif": (lambda: tiff(entry(256, 20_000), bits=16), "a tag twice"),
    "wide.webp": (lambda: webp(width=1900, height=1900), "truncated or damaged"),
    "long.webp": (lambda: changed(webp(), 4, "<L", 2**32 - 2), "truncated or damaged"),
    "chunk.webp": (lambda: changed(webp(), 34, "<L", 2**31), "truncated or damaged"),
    "big.tif": (lambda: b"MM\0+\0\x08\0\0" + (16).to_bytes(8, "big") + bytes(20), "BigTIFF"),
    # what is no single picture of ours
    "zip.png": (lambda: zipped(("a.png", png(64, 64))), "no picture"),
    "gif.png": (lambda: encoded(SMALL[..., 0], "GIF"), "no picture"),
    "zero.png": (lambda: b"", "0 bytes"),
    "nul.png": (lambda: bytes(5000), "no picture"),
    "signature.png": (lambda: SIGNATURE, "truncated or damaged|no picture"),
    "apng.png": (lambda: frames("PNG"), "3 frames"),
    "moving.webp": (lambda: frames("WEBP"), "3 frames"),
    "pages3.tif": (lambda: frames("TIFF"), "3 frames or pages"),
    "cmyk.jpg": (lambda: saved(Image.fromarray(SMALL).convert("CMYK"), "JPEG"), "its mode is CMYK"),
    "float.tif": (lambda: saved(Image.fromarray(SMALL).convert("F"), "TIFF"), "its mode is F"),
    "cut.png": (partial(cut, "PNG"), "truncated or damaged"),
    "cut.jpg": (partial(cut, "JPEG", quality=95), "truncated or damaged"),
    "cut.tif": (partial(cut, "TIFF"), "truncated or damaged"),
    "cut.webp": (partial(cut, "WEBP", lossless=True), "truncated or damaged"),
    "cut.bmp": (partial(cut, "BMP"), "truncated or damaged"),
    "cut16.png": (lambda: encoded_16(photograph(120, 140, dtype=np.uint16))[:3000], "truncated or damaged"),
}
"""By name: what makes the file, and what is said of it."""

HARMLESS: dict[str, Build] = {
    "plain.png": lambda: encoded(SMALL),
    "polyglot.png": lambda: encoded(SMALL) + zipped(("../evil.png", b"x")),
    "noted.png": lambda: png(64, 64, more=chunk(b"tEXt", b"a\0" + bytes(1000)), behind=chunk(b"eXIf", exif(1000))),
    "upside.bmp": lambda: changed(encoded(SMALL, "BMP"), 22, "<l", -48),
    "runs_small.bmp": lambda: run_lengths(64, 64, b"\x40\1\0\0" * 64 + b"\0\1"),
    "passes.jpg": lambda: saved(Image.fromarray(SMALL), "JPEG", progressive=True),
    "profile.webp": lambda: webp(riff(b"EXIF", exif(60_000)), flags=8),
    "tiled.tif": lambda: tiff(compression=8, tile_px=64, data=zeros(64 * 64 * 3)),
    "deep.tif": lambda: tiff(bits=16),
    "deep.png": lambda: encoded_16(photograph(48, 56, dtype=np.uint16)),
}
"""Files as odd as those, in which there is nothing wrong."""


# ---- a folder ----


@dataclass(frozen=True, slots=True)
class Expected:
    """What must become of a folder.

    Attributes:
        pairs: Keys of pairs that are set aside, and what is said of them.
        files: Files that never become a pair, and what is said of them.
        good: Keys of pairs that are in the data set.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)


def write_good(root: Path) -> set[str]:
    """Good pairs, some of them with names that look like harm; gives their keys."""
    names = [f"{number:02d}" for number in range(NUM_GOOD)]
    odd = ["-rf", "n" * 251, "a..b", "$(reboot)", "%00", "it's; rm", "夜 café", "NUL", "b\\..\\..\\c"]
    write_pairs(root, names + odd, size=(48, 56))
    return {f"train/{name}" for name in names + odd}


def write_strip(root: Path, height: int) -> str:
    """A good pair, 20,000 pixels wide; gives its key."""
    clean = np.tile(photograph(height, 200), (1, 100, 1))
    return _write(root, f"strip_{height}.png", encoded(clean // 3), encoded(clean))


def write_hostile(root: Path) -> Expected:
    """Good pairs, and beside them everything above, names that mean harm, and what is no file at all."""
    expected, clean = Expected(good=write_good(root)), encoded(SMALL // 2 + 9)
    for name in ("polyglot.png", "upside.bmp", "passes.jpg"):
        expected.good.add(_write(root, name, HARMLESS[name](), clean))
    for name, (build, reason) in PICTURES.items():
        key = _write(root, name, build(), clean)
        expected.pairs[key] = rf"{key.replace('train/', 'train/low/')}\.\w+: .*({reason})"
    for height, width in ((1, 1), (1, 3000), (3000, 1)):
        sides = (encoded(np.full((height, width, 3), value, np.uint8)) for value in (9, 90))
        expected.pairs[_write(root, f"{height}x{width}.png", *sides)] = "16 or more a side"
    for file_name, reason in _names():
        (root / os.fsdecode(b"train/low/" + file_name)).write_bytes(clean)
        shown = repr(file_name.decode("utf-8", "surrogateescape"))[1:-1]
        expected.files[f"train/low/{shown}"] = reason
    for name, reason in _write_no_files(root):
        (root / "train/high" / name).write_bytes(clean)
        expected.files[f"train/low/{name}"] = reason
        expected.files[f"train/high/{name}"] = "it has no partner"
    (root / "train/low/folder.png").mkdir()
    (root / "train/low/folder.png/inside.txt").touch()
    (root / "train/high/folder.png").write_bytes(clean)
    expected.files["train/high/folder.png"] = "it has no partner"
    return expected


def _write(root: Path, name: str, degraded: bytes, clean: bytes) -> str:
    """A pair whose degraded side is called `tile_tif.tif`, say; gives its key."""
    key, extension = name.replace(".", "_"), name.rpartition(".")[2]
    for side, file_name, data in (("low", f"{key}.{extension}", degraded), ("high", f"{key}.png", clean)):
        path = root / "train" / side / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return f"train/{key}"


def _names() -> Iterator[tuple[bytes, str]]:
    yield b"bad\xff.png", "not UTF-8"
    for name in ("line\nfeed", "bell\x07", "clear\x1b[2J", "next\x85line", "para\u2029graph", "gnp.\u202eexe"):
        yield f"{name}.png".encode(), "control characters"
    yield b"both\xff\n.png", "not UTF-8"


def _write_no_files(root: Path) -> Iterator[tuple[str, str]]:
    """What stands where a degraded picture should."""
    low, outside = root / "train/low", root.parent / "outside.png"
    outside.write_bytes(encoded(SMALL))
    for name, target in {"out": outside, "far": Path("../../../outside.png"), "zero": Path("/dev/zero")}.items():
        (low / f"{name}.png").symlink_to(target)
        yield f"{name}.png", "a link that leads out"
    (low / "self.png").symlink_to("self.png")
    yield "self.png", "a link to nothing"
    os.mkfifo(low / "pipe.png")
    yield "pipe.png", "a named pipe"
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(low, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.png")  # its own path may be too long for an address
        os.close(here)
    yield "socket.png", "a socket"
    (low / "link.png").symlink_to(".")
    yield "link.png", "a link to a folder"
