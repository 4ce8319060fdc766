"""Why a file is no picture: what its first bytes, its header and its end say, without trusting any of them."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

from PIL import Image

from pipelines.ops.claims import excess_of
from pipelines.ops.codec import FORMATS
from pipelines.ops.png import png_bytes_needed, png_holds_all, without_pixels

_ANY_PIXELS = 1 << 62
_MAX_DEFLATE_RATIO = 1032  # zlib's technical notes: no stream unpacks to more
_PNG_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I"}

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"8BPS", "Photoshop"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypcrx", "Canon raw"),
    (4, b"ftyp", "MP4 video"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"%PDF", "PDF"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (0, b"P5", "PNM"),
    (0, b"P6", "PNM"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"<svg", "SVG"),
)
_OWN: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
)


class Header(NamedTuple):
    """What a file says of itself before its pixels are unpacked.

    Attributes:
        format: One of `codec.FORMATS`.
        mode: Pillow's name of the kind of pixels.
        width_px: As stored.
        height_px: As stored.
        frames: Frames or pages.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        icc_profile: Colour profile, or nothing.
        jpeg_quality: Estimate of libjpeg's quality, 1 to 100; 0 where the file is no JPEG.
        palette: Whether the pixels are indices of a palette.
    """

    format: str
    mode: str
    width_px: int
    height_px: int
    frames: int
    orientation: int
    icc_profile: bytes
    jpeg_quality: int
    palette: bool


class Fault(NamedTuple):
    """Why a file cannot be used: a kind, and what was found, in words."""

    kind: str
    found: str


def read_header(data: bytes) -> Header | None:
    """The header, or None where it is of no format that is supported, cannot be parsed, or is not worth the work."""
    try:
        if excess_of(data, max_pixels=_ANY_PIXELS):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, softer limit and odd EXIF blocks
            with _opened(data) as image:
                return _header_of(image, data)
    except Image.DecompressionBombError:
        width, height = _webp_size(data)
        return Header("WEBP", "RGB", width, height, 1, 1, b"", 0, False)
    except Exception:  # noqa: BLE001 - parsers of hostile bytes throw anything
        return None


def fault_before_decoding(data: bytes, header: Header | None, *, max_pixels: int) -> Fault | None:
    """What is wrong with a file as far as its header shows, or None.

    Args:
        data: The file.
        header: What `read_header` gave.
        max_pixels: Largest height x width.
    """
    if not data:
        return Fault("zero_bytes", "it holds 0 bytes")
    if excess := excess_of(data, max_pixels=max_pixels):
        return Fault(excess.kind, excess.found)
    if header is None:
        return _unknown(data)
    size = f"{header.width_px} x {header.height_px}"
    if _impossible(data, header):
        return Fault("header_lies", f"its header claims {size} pixels, which {len(data)} bytes cannot hold")
    if header.width_px * header.height_px > max_pixels:
        return Fault("too_many_pixels", f"it has {size} pixels")
    if header.frames > 1:
        return Fault("animated", f"it has {header.frames} frames or pages")
    if header.mode == "CMYK":
        return Fault("cmyk", "its colours are CMYK, made for printing")
    if header.mode not in _MODES:
        return Fault("unsupported_mode", f"its mode is {header.mode}")
    return None


def fault_of_undecodable(data: bytes, header: Header) -> Fault:
    """Why a file with a sound header does not decode.

    Args:
        data: The file.
        header: What `read_header` gave.
    """
    if not _has_end(data, header.format):
        return Fault("truncated", f"it ends in the middle of the picture, after {len(data)} bytes")
    if header.format == "PNG" and not png_holds_all(data):
        return _too_little(header)
    return Fault("damaged", "its data are damaged")


def _too_little(header: Header) -> Fault:
    return Fault("header_lies", f"its header claims {header.width_px} x {header.height_px} pixels, and it holds fewer")


def _unknown(data: bytes) -> Fault:
    for offset, magic, name in _FOREIGN:
        if data[offset : offset + len(magic)] == magic:
            return Fault("unsupported_format", f"it is a file of the kind {name}")
    if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
        return Fault("unsupported_format", "it is a RIFF file, such as a sound or a video")
    for magic, name in _OWN:
        if data.startswith(magic):
            kind = "damaged" if _has_end(data, name) else "truncated"
            return Fault(kind, f"it begins as {name}, and its header is damaged or cut short")
    return Fault("not_a_picture", f"it begins with {data[:8]!r}, as no picture does")


def _header_of(image: Image.Image, data: bytes) -> Header:
    return Header(
        format=str(image.format),
        mode=image.mode,
        width_px=image.width,
        height_px=image.height,
        frames=int(getattr(image, "n_frames", 1)),
        orientation=_orientation_of_png(data) if image.format == "PNG" else _orientation(image),
        icc_profile=image.info.get("icc_profile") or b"",
        jpeg_quality=_jpeg_quality(image),
        palette=image.mode in {"P", "PA"},
    )


def _opened(data: bytes) -> Image.Image:
    """The picture, not unpacked; also one whose size Pillow would not even tell."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        image_format = next(name for magic, name in _OWN if data.startswith(magic))
        image: Image.Image = Image.OPEN[image_format][0](io.BytesIO(data), "")
        return image


def _webp_size(data: bytes) -> tuple[int, int]:
    """Of a WebP that is so large that its reader refuses to tell."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _orientation_of_png(data: bytes) -> int:
    """Pillow unpacks all of a PNG, however large, to look for an orientation behind the pixels."""
    if not any(words in data for words in _PNG_ORIENTATION):
        return 1
    try:
        with Image.open(io.BytesIO(without_pixels(data)), formats=("PNG",)) as image:
            return _orientation(image)
    except Exception:  # noqa: BLE001 - damaged notes cost nobody the header
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block costs nobody the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_quality(image: Image.Image) -> int:
    """From the sum of the luminance table: libjpeg scales its standard table, whose sum is 3688, by the quality."""
    tables = getattr(image, "quantization", None)
    if image.format != "JPEG" or not tables:
        return 0
    scale = 100 * sum(tables[min(tables)]) / 3688
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(max(1, min(100, round(quality))))


def _impossible(data: bytes, header: Header) -> bool:
    return header.format == "PNG" and png_bytes_needed(data) > _MAX_DEFLATE_RATIO * len(data)


def _has_end(data: bytes, image_format: str) -> bool:
    """Whether a file reaches its own end; trailing bytes are allowed."""
    if image_format == "PNG":
        return b"IEND\xaeB`\x82" in data
    if image_format == "JPEG":
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    if image_format == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if image_format == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")
    return _tiff_has_end(data)


def _tiff_has_end(data: bytes) -> bool:
    if int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big") + 2 > len(data):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            offsets, counts = (tags.get(273) or tags.get(324)), (tags.get(279) or tags.get(325))
            return all(offset + count <= len(data) for offset, count in zip(offsets, counts, strict=True))
    except Exception:  # noqa: BLE001 - a directory that cannot be read is damage, not a missing end
        return True
