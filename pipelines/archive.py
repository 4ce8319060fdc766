"""The graph that restores an archive: members -> decode -> restore -> encode in actors -> staged files -> one zip.

Nothing stands under a final name before it is whole: actors stage each restored file, the driver packs them in the
input's order and publishes the archive, then the report, then the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from pipelines import storage
from pipelines.archive_config import ArchiveConfig
from pipelines.graphs import actor_options, told_plainly
from pipelines.manifest import Quarantined, publish_jsonl, sha256
from pipelines.members import Member, list_members, read_member
from pipelines.ops.codec import DecodedImage, decode_image, encode_image
from pipelines.ops.restore import PixelRestorer, restore_image
from pipelines.report import ReportImage, preview, render
from rddm.errors import DataError, StorageUnreachableError

ARCHIVE, MANIFEST, TABLE, REPORT, QUARANTINE = (
    "restored.zip",
    "manifest.jsonl",
    "manifest.parquet",
    "report.html",
    "quarantine.jsonl",
)
_STAGING = ".staging"
RESTORED, QUARANTINED = "restored", "quarantined"
LoadRestorer = Callable[[str], PixelRestorer]
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveReport:
    """What became of an archive.

    Attributes:
        num_restored: Pictures in the restored archive.
        num_quarantined: Inputs that were set aside.
        seconds: Wall time.
        model_uri: The model that restored.
        archive_uri: The restored archive.
        manifest_uri: A row for every input (JSON lines; a Parquet table lies beside it).
        report_uri: The page to look at.
        quarantine_uri: What was set aside and why.
    """

    num_restored: int
    num_quarantined: int
    seconds: float
    model_uri: str
    archive_uri: str
    manifest_uri: str
    report_uri: str
    quarantine_uri: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """What became of one input."""

    name: str
    status: str
    reason: str = ""
    sha256_in: str = ""
    sha256_out: str = ""
    width_px: int = 0
    height_px: int = 0
    mode: str = ""
    format: str = ""
    seconds: float = 0.0
    model_uri: str = ""


class RestoreMembers:
    """Restores members one by one; built from plain data, loads the model once an actor.

    Args:
        load_restorer: An importable function, model URI -> restorer.
        model_uri: The model.
        input_uri: The archive or folder.
        staging_uri: Where restored files wait.
        config: Limits and choices.
    """

    def __init__(
        self, load_restorer: LoadRestorer, model_uri: str, input_uri: str, staging_uri: str, config: ArchiveConfig
    ) -> None:
        """Load the model."""
        self._restorer = load_restorer(model_uri)
        self._model_uri, self._input_uri, self._staging_uri, self._config = model_uri, input_uri, staging_uri, config

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """`name` and `index` of a member -> its manifest row as JSON, and two previews for the report."""
        member = Member(name=row["name"], index=int(row["index"]))
        started = time.monotonic()
        before = after = b""
        try:
            restored = self._restore(member)
        except StorageUnreachableError:
            raise  # no fault of the picture
        except DataError as error:
            result = ManifestRow(name=member.name, status=QUARANTINED, reason=str(error), model_uri=self._model_uri)
        else:
            # A fault in writing is no fault of the picture: it ends the run.
            staged = storage.join(self._staging_uri, str(member.index))
            storage.publish_bytes(staged, restored.file, overwrite=True)
            result = restored.row
            if row["preview"]:
                before, after = restored.previews()
        values = {**asdict(result), "seconds": round(time.monotonic() - started, 4)}
        return {"index": member.index, "row": json.dumps(values), "before": before, "after": after}

    def _restore(self, member: Member) -> _Restored:
        data = read_member(self._input_uri, member, self._config)
        before = decode_image(data, name=member.name, max_pixels=self._config.max_pixels)
        try:
            after = restore_image(before, self._restorer, seed=_seed(self._config.seed, member.name))
            encoded = encode_image(after, quality=self._config.quality)
        except DataError as error:
            raise DataError(f"{member.name}: {error}") from None
        except Exception as error:  # one picture that the model chokes on must not cost the others
            raise DataError(
                f"{member.name}: the model failed on it ({type(error).__name__}: {error}); leave it out"
            ) from error
        row = ManifestRow(
            name=member.name,
            status=RESTORED,
            sha256_in=sha256(data),
            sha256_out=sha256(encoded),
            width_px=before.pixels.shape[1],
            height_px=before.pixels.shape[0],
            mode=before.mode,
            format=before.format,
            model_uri=self._model_uri,
        )
        return _Restored(row=row, file=encoded, before=before, after=after)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Restored:
    row: ManifestRow
    file: bytes
    before: DecodedImage
    after: DecodedImage

    def previews(self) -> tuple[bytes, bytes]:
        return preview(self.before.pixels), preview(self.after.pixels)


def restore_archive(
    *,
    input_uri: str,
    output_uri: str,
    load_restorer: LoadRestorer,
    model_uri: str,
    config: ArchiveConfig,
    progress: Progress | None = None,
) -> ArchiveReport:
    """Restore every picture of an archive; Ray must be initialised.

    Args:
        input_uri: A zip archive, or a folder.
        output_uri: A folder or prefix without another restoration's files.
        load_restorer: An importable function, model URI -> restorer.
        model_uri: The model.
        config: Limits and choices.
        progress: Told of (pictures done, in all, quarantined).

    Raises:
        DataError: The input does not exist, is no archive or is empty, or the output holds such files already.
        ClusterError: Workers failed, such as for want of memory; nothing stands under a final name.
    """
    started = time.monotonic()
    for name in (MANIFEST, ARCHIVE, REPORT, TABLE, QUARANTINE):
        if storage.exists(storage.join(output_uri, name)):
            raise DataError(f"{output_uri} holds a {name} already; nothing is overwritten, choose another output")
    listing = list_members(input_uri, config)
    staging_uri = storage.join(output_uri, _STAGING)
    try:
        actor = (load_restorer, model_uri, input_uri, staging_uri, config)
        with told_plainly("Restoring"):
            results = list(_run(listing.members, actor, config, len(listing.quarantined), progress))
        refused = [_refused(record, model_uri) for record in listing.quarantined]
        rows = [row for row, _ in results] + refused
        _pack(results, listing.members, staging_uri, output_uri)
        _report(results, rows, input_uri, output_uri, model_uri, time.monotonic() - started, config)
        _publish_records(rows, output_uri)
    finally:
        storage.remove(staging_uri)
    return ArchiveReport(
        num_restored=sum(row.status == RESTORED for row in rows),
        num_quarantined=sum(row.status == QUARANTINED for row in rows),
        seconds=round(time.monotonic() - started, 1),
        model_uri=model_uri,
        archive_uri=storage.join(output_uri, ARCHIVE),
        manifest_uri=storage.join(output_uri, MANIFEST),
        report_uri=storage.join(output_uri, REPORT),
        quarantine_uri=storage.join(output_uri, QUARANTINE),
    )


_Result = tuple[ManifestRow, ReportImage | None]


def _run(
    members: tuple[Member, ...], actor: tuple[Any, ...], config: ArchiveConfig, failed: int, progress: Progress | None
) -> Iterator[_Result]:
    """Restore all members; results come back in the order of the input."""
    if not members:
        return
    shown = config.max_report_images
    items = [{"name": m.name, "index": m.index, "preview": place < shown} for place, m in enumerate(members)]
    actors = min(config.num_actors, len(members))
    graph = ray.data.from_items(items, override_num_blocks=len(items)).map(
        RestoreMembers, fn_constructor_args=actor, **actor_options(actors, num_cpus=config.threads_per_actor)
    )
    results: list[tuple[int, _Result]] = []
    total = len(members) + failed
    for result in graph.iter_rows():
        row = ManifestRow(**json.loads(result["row"]))
        failed += row.status == QUARANTINED
        picture = ReportImage(row.name, result["before"], result["after"]) if result["before"] else None
        results.append((int(result["index"]), (row, picture)))
        if progress is not None:
            progress(total - len(members) + len(results), total, failed)
    yield from (result for _, result in sorted(results, key=lambda pair: pair[0]))


def _pack(results: list[_Result], members: tuple[Member, ...], staging_uri: str, output_uri: str) -> None:
    """Pack the staged files, in order and with fixed times, so that equal pictures make an equal archive."""
    places = {member.name: member.index for member in members}
    with tempfile.TemporaryDirectory(prefix="rddm-pack-") as folder:
        packed = Path(folder) / ARCHIVE
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for row, _ in results:
                if row.status == RESTORED:
                    data = storage.read_bytes(storage.join(staging_uri, str(places[row.name])))
                    archive.writestr(zipfile.ZipInfo(row.name, (1980, 1, 1, 0, 0, 0)), data)
        storage.publish_file(packed, storage.join(output_uri, ARCHIVE))


def _report(
    results: list[_Result],
    rows: list[ManifestRow],
    input_uri: str,
    output_uri: str,
    model_uri: str,
    seconds: float,
    config: ArchiveConfig,
) -> None:
    page = render(
        title=Path(input_uri).name,
        model_uri=model_uri,
        seconds=seconds,
        images=[picture for _, picture in results if picture is not None],
        num_restored=sum(row.status == RESTORED for row in rows),
        quarantined=[(row.name, row.reason) for row in rows if row.status == QUARANTINED],
    )
    storage.publish_bytes(storage.join(output_uri, REPORT), page.encode(), overwrite=True)


def _publish_records(rows: list[ManifestRow], output_uri: str) -> None:
    """The manifest is last: where it stands, everything else does."""
    values = [asdict(row) for row in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), buffer)
    storage.publish_bytes(storage.join(output_uri, TABLE), buffer.getvalue(), overwrite=True)
    bad = [{"name": row.name, "reason": row.reason} for row in rows if row.status == QUARANTINED]
    publish_jsonl(storage.join(output_uri, QUARANTINE), bad, overwrite=True)
    publish_jsonl(storage.join(output_uri, MANIFEST), values)


def _refused(record: Quarantined, model_uri: str) -> ManifestRow:
    return ManifestRow(name=record.name, status=QUARANTINED, reason=record.reason, model_uri=model_uri)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
