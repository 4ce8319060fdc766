"""The page of a restoration: one HTML file without a single outside request."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from pipelines.ops.codec import as_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PREVIEW_PX = 960
_PREVIEW_QUALITY = 82


@dataclass(frozen=True, slots=True)
class ReportImage:
    """A picture's name, and WebP previews of it before and after."""

    name: str
    before: bytes
    after: bytes

    @property
    def before_uri(self) -> str:
        """The first preview as a data URI."""
        return _data_uri(self.before)

    @property
    def after_uri(self) -> str:
        """The second preview as a data URI."""
        return _data_uri(self.after)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the previews, in pixels."""
        with Image.open(io.BytesIO(self.after)) as image:
            return image.size


def preview(pixels: NDArray[Any]) -> bytes:
    """A WebP of at most 960 pixels a side.

    Args:
        pixels: uint8 or uint16 RGB of shape (height, width, 3).
    """
    image = Image.fromarray(np.ascontiguousarray(as_8_bit(pixels)))
    image.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_PREVIEW_QUALITY)
    return buffer.getvalue()


def render(
    *,
    title: str,
    model_uri: str,
    seconds: float,
    images: Sequence[ReportImage],
    num_restored: int,
    quarantined: Sequence[tuple[str, str]],
) -> str:
    """The page.

    Args:
        title: The archive's name.
        model_uri: The model that restored.
        seconds: Wall time.
        images: What is shown, at most as many as were restored.
        num_restored: How many were restored in all.
        quarantined: Names and reasons of what was set aside.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("restore_report.html.j2").render(
        title=title,
        model_uri=model_uri,
        seconds=seconds,
        images=images,
        num_restored=num_restored,
        quarantined=quarantined,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _data_uri(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode()
