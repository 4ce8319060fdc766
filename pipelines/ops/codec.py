"""Files <-> pixels: any common picture in, the same format, mode and bit depth out."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipelines.ops.claims import excess_of
from pipelines.ops.png import plain_png, png_holds_all
from rddm.errors import DataError, UnreadableImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config import Part

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_ORIENTATION = 0x0112
_ICC_PROFILE = 0x8773
# What describes a picture: document, camera, resolution, dates, author, and the private blocks (EXIF, GPS, XMP, IPTC,
# GeoTIFF). The other tags lay out the pixels of the old file, and would break the new one.
_DESCRIPTIVE = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 318, 319, 700} | set(range(32768, 65536))
_DESCRIPTIVE -= {32995, 32996, 32997, 32998, _ICC_PROFILE}
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_MODES_16 = {"I;16", "I;16B", "I;16L", "I"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodedImage:
    """A picture, upright, and what must be kept to write it again.

    Attributes:
        pixels: RGB, uint8 or uint16, (height, width, 3); a grey picture has three equal channels.
        alpha: Same type, (height, width), or None.
        grey: Whether the file was grey.
        format: One of `FORMATS`.
        exif: EXIF block without the orientation, which the pixels carry out, or None.
        icc_profile: Colour profile, or None.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    grey: bool = False
    format: str = "PNG"
    exif: bytes | None = None
    icc_profile: bytes | None = None

    @classmethod
    def from_rgb(cls, pixels: NDArray[Any]) -> DecodedImage:
        """A plain RGB picture that becomes a PNG."""
        return cls(pixels=pixels)

    @property
    def bit_depth(self) -> Literal[8, 16]:
        """Bits of a channel."""
        return 16 if self.pixels.dtype == np.uint16 else 8

    @property
    def mode(self) -> str:
        """Mode in words: L, LA, RGB or RGBA, and the bits."""
        return ("L" if self.grey else "RGB") + ("A" if self.alpha is not None else "") + f" {self.bit_depth}-bit"


def decode_image(data: bytes, *, name: str, max_pixels: int = 64_000_000) -> DecodedImage:
    """Decode a picture file.

    What the file claims is checked before any reader is let at it, and the pixel limit on the header, before anything
    is unpacked; EXIF orientation is applied; palettes become RGB or RGBA.

    Args:
        data: The file.
        name: Its name, for messages.
        max_pixels: Largest height x width.

    Raises:
        UnreadableImageError: It is empty, truncated, animated, too large, asks for work out of proportion, or is of a
            format or mode that is not supported.
    """
    if not data:
        raise _unreadable(name, "it holds 0 bytes", "a picture")
    try:
        if excess := excess_of(data, max_pixels=max_pixels):
            raise _unreadable(name, excess.found, excess.expected)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, softer limit and odd EXIF blocks; ours is below
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, name, max_pixels)
                decoded = _decode_16(image, data, name) if _is_16_bit(image, data) else _decode_8(image)
                if image.format == "PNG" and _may_lack_rows(decoded, data) and not png_holds_all(data):
                    raise _holds_fewer(image, name)
                return decoded
    except UnidentifiedImageError:
        raise _unreadable(name, "it is no picture, or its header is damaged", f"one of {', '.join(FORMATS)}") from None
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError:
        raise _unreadable(name, "its header claims too many pixels", f"at most {max_pixels} pixels") from None
    except Exception as error:  # noqa: BLE001 - whatever a parser throws at damaged bytes is the file's fault
        raise _unreadable(name, f"it is truncated or damaged ({error})", "a whole file") from None


def encode_image(image: DecodedImage, *, quality: int = 95) -> bytes:
    """Encode a picture in its own format, mode and bit depth, with its EXIF and colour profile.

    What is written is read again before it is given out.

    Args:
        image: What to write.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        DataError: Its format cannot hold it.
    """
    height, width = image.pixels.shape[:2]
    try:
        data = _encode_16(image) if image.bit_depth == 16 else _encode_8(image, quality)
        again = decode_image(data, name="the new file", max_pixels=height * width)
        if (again.pixels.shape, again.pixels.dtype) != (image.pixels.shape, image.pixels.dtype):
            raise ValueError(f"it comes back as {again.mode} of shape {again.pixels.shape}")
    except Exception as error:  # noqa: BLE001 - as many kinds as there are codecs
        raise DataError(
            f"{image.mode}, {width} x {height} pixels cannot be written as {image.format}: {error}; convert it to PNG"
        ) from None
    return data


def _encode_8(image: DecodedImage, quality: int) -> bytes:
    channels = image.pixels[..., 0] if image.grey else image.pixels
    picture = Image.fromarray(np.ascontiguousarray(channels))
    if image.alpha is not None:
        picture.putalpha(Image.fromarray(image.alpha))
    options: dict[str, Any] = {"exif": image.exif, "icc_profile": image.icc_profile}
    by_format: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    options |= by_format.get(image.format, {})
    buffer = io.BytesIO()
    picture.save(buffer, image.format, **{key: value for key, value in options.items() if value is not None})
    return buffer.getvalue()


def as_8_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The same picture in 8 bits a channel.

    Args:
        pixels: uint8 or uint16.
    """
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def half_of(pixels: NDArray[Any], part: Part) -> NDArray[Any]:
    """One half of a picture that holds both sides of a pair; the middle line of an odd one is left out."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    halves: dict[str, Any] = {
        "left": np.s_[:, :width],
        "right": np.s_[:, pixels.shape[1] - width :],
        "top": np.s_[:height],
        "bottom": np.s_[pixels.shape[0] - height :],
    }
    return np.ascontiguousarray(pixels[halves[part]]) if part in halves else pixels


def _may_lack_rows(decoded: DecodedImage, png: bytes) -> bool:
    """Whether an edge has one colour: where rows are missing, the file's last one has, wherever it was turned to.

    Of an interlaced picture, any row may be missing.
    """
    if png[28:29] == b"\1":
        return True
    pixels = decoded.pixels
    edges = (pixels[-1], pixels[0], pixels[:, -1], pixels[:, 0])
    return any(bool((edge == edge[0]).all()) for edge in edges)


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _unreadable(name, f"it has {width} x {height} pixels", f"at most {max_pixels} pixels (max_pixels)")
    if getattr(image, "n_frames", 1) > 1:
        raise _unreadable(name, f"it has {getattr(image, 'n_frames', 1)} frames or pages", "a single picture")
    if image.mode not in _MODES | _MODES_16:
        raise _unreadable(name, f"its mode is {image.mode}", "grey, RGB or palette, with or without alpha")


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    """Pillow reads 16-bit RGB as 8-bit without a word: ask the PNG header and the TIFF tag."""
    if image.mode in _MODES_16:
        return True
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 8)  # type: ignore[attr-defined]
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return False


def _decode_8(image: Image.Image) -> DecodedImage:
    picture = image
    if picture.mode == "P" or (picture.mode in {"1", "L", "RGB"} and "transparency" in picture.info):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    grey = picture.mode in {"1", "L", "LA"}
    alpha = np.array(picture.getchannel("A")) if picture.mode in {"LA", "RGBA"} else None
    pixels = np.array(picture.convert("L").convert("RGB") if grey else picture.convert("RGB"))
    return _upright(image, pixels, alpha, grey=grey)


def _decode_16(image: Image.Image, data: bytes, name: str) -> DecodedImage:
    image.load()  # Pillow notices a truncated file, OpenCV fills the rest with black
    file = plain_png(data) if image.format == "PNG" else data
    if file is None:
        raise _holds_fewer(image, name)
    decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != (image.height, image.width):
        raise _unreadable(name, "its 16-bit data cannot be decoded", "16-bit grey, RGB or RGBA")
    planes = decoded[..., None] if decoded.ndim == 2 else decoded
    grey = planes.shape[2] < 3
    pixels = np.repeat(planes[..., :1], 3, axis=2) if grey else planes[..., 2::-1]
    alpha = planes[..., -1] if planes.shape[2] in {2, 4} else None
    return _upright(image, pixels, alpha, grey=grey)


def _upright(image: Image.Image, pixels: NDArray[Any], alpha: NDArray[Any] | None, *, grey: bool) -> DecodedImage:
    """The planes, turned as EXIF says, with what describes them. A damaged EXIF block costs nobody the picture."""
    try:
        tags = image.getexif()
        orientation = tags.get(_ORIENTATION, 1)
        for tag in set(tags) - _DESCRIPTIVE:
            del tags[tag]
        exif = tags.tobytes() if len(tags) else None
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds here
        orientation, exif = 1, None
    return DecodedImage(
        pixels=_turned(pixels, orientation),
        alpha=None if alpha is None else _turned(alpha, orientation),
        grey=grey,
        format=str(image.format),
        exif=exif,
        icc_profile=image.info.get("icc_profile"),
    )


def _turned(plane: NDArray[Any], orientation: Any) -> NDArray[Any]:
    """The EXIF orientation, carried out on an array."""
    flip_x, quarter_turns = {
        2: (True, 0),
        3: (False, 2),
        4: (True, 2),
        5: (True, 1),
        6: (False, 3),
        7: (True, 3),
        8: (False, 1),
    }.get(orientation, (False, 0))
    mirrored = plane[:, ::-1] if flip_x else plane
    return np.ascontiguousarray(np.rot90(mirrored, quarter_turns))


def _encode_16(image: DecodedImage) -> bytes:
    planes = image.pixels[..., :1] if image.grey else image.pixels[..., ::-1]
    if image.alpha is not None:
        # OpenCV writes no grey with alpha: such a picture becomes RGBA, and nothing of it is lost.
        colour = np.repeat(planes, 3, axis=2) if image.grey else planes
        planes = np.concatenate([colour, image.alpha[..., None]], axis=2)
    return _cv2_encode({"TIFF": ".tiff"}.get(image.format, ".png"), np.ascontiguousarray(planes))


def _cv2_encode(extension: str, planes: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(extension, planes)
    if not done:
        raise ValueError(f"OpenCV cannot write {planes.dtype} of shape {planes.shape} as {extension}")
    return bytes(data)


def _holds_fewer(image: Image.Image, name: str) -> UnreadableImageError:
    return _unreadable(name, f"its header claims {image.width} x {image.height} pixels, it holds fewer", "all")


def _unreadable(name: str, found: str, expected: str) -> UnreadableImageError:
    return UnreadableImageError(f"{name}: {found}; expected {expected}; replace the file or leave it out")
