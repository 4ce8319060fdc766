"""The page of a diagnosis: one HTML file without a single outside request."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import jinja2
import numpy as np
from PIL import Image

from pipelines.config import PreprocessConfig
from pipelines.dataset.text import one_line
from pipelines.doctor import Diagnosis
from pipelines.doctor.findings import CHECKS, Finding
from pipelines.ops.codec import as_8_bit
from pipelines.ops.inspect_files import see

SHOWN_PER_KIND, SHOWN_WITH_PICTURES = 12, 200
_LISTED_PER_KIND = 200
_FILES_PER_FINDING = 6
_PICTURES_PER_FINDING = 2
_SIDE_PX, _QUALITY = 160, 78


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small WebP picture."""

    data: bytes
    width_px: int
    height_px: int

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/webp;base64," + base64.b64encode(self.data).decode()


@dataclass(frozen=True, slots=True)
class _Group:
    """The findings of one kind, as the page shows them."""

    kind: str
    title: str
    summary: str
    severity: str
    count: int
    pictured: Sequence[Finding]
    listed: Sequence[Finding]


def thumbnails(diagnosis: Diagnosis, config: PreprocessConfig) -> dict[str, Thumbnail]:
    """Pictures of the findings that the page shows first, by file; what does not decode has none.

    At most `SHOWN_PER_KIND` findings of a kind and `SHOWN_WITH_PICTURES` in all have pictures, two of each.

    Args:
        diagnosis: With the findings, and the places of their files.
        config: With the limits of what is read.
    """
    made: dict[str, Thumbnail] = {}
    for finding in _pictured(diagnosis):
        for path in finding.files[:_PICTURES_PER_FINDING]:
            if path not in made and path in diagnosis.places:
                root, file = diagnosis.places[path]
                pixels = see(root, file, config).pixels
                if pixels is not None:
                    made[path] = _thumbnail(Image.fromarray(np.ascontiguousarray(as_8_bit(pixels))))
    return made


def render(diagnosis: Diagnosis, pictures: Mapping[str, Thumbnail], *, title: str) -> str:
    """The page.

    Args:
        diagnosis: What was found.
        pictures: What `thumbnails` gave.
        title: The source's name.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["line"] = one_line
    return environment.get_template("doctor_report.html.j2").render(
        title=title,
        diagnosis=diagnosis,
        groups=_groups(diagnosis),
        pictures=pictures,
        pictures_per_finding=_PICTURES_PER_FINDING,
        files_per_finding=_FILES_PER_FINDING,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _pictured(diagnosis: Diagnosis) -> list[Finding]:
    first = [finding for _, findings in diagnosis.by_kind() for finding in findings[:SHOWN_PER_KIND]]
    return first[:SHOWN_WITH_PICTURES]


def _groups(diagnosis: Diagnosis) -> list[_Group]:
    pictured = set(_pictured(diagnosis))
    groups = []
    for kind, findings in diagnosis.by_kind():
        shown = [finding for finding in findings if finding in pictured]
        rest = [finding for finding in findings if finding not in pictured]
        groups.append(
            _Group(
                kind=kind,
                title=kind.replace("_", " "),
                summary=CHECKS[kind].summary,
                severity=findings[0].severity,
                count=len(findings),
                pictured=shown,
                listed=rest[:_LISTED_PER_KIND],
            )
        )
    return groups


def _thumbnail(image: Image.Image) -> Thumbnail:
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY)
    return Thumbnail(buffer.getvalue(), image.width, image.height)
