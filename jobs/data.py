"""`rddm data`: looking at a finished data set from the command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.markup import escape
from rich.table import Table

from jobs.terminal import Terminal, emit_json
from pipelines import storage
from pipelines.dataset.card import FIGURES, figures_text
from pipelines.dataset.contact_sheet import SheetRow, contact_sheet, spread
from pipelines.dataset.text import one_line, size_text
from pipelines.dataset.verification import Damage
from pipelines.dataset.verification import verify as verify_dataset
from pipelines.manifest import DatasetManifest, read_manifest
from pipelines.schema import SPLITS
from pipelines.shards import PairShards
from rddm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_OUTPUT = Path("contact-sheet.png")
_NOT_STATED = "not stated"


def show(uri: str, terminal: Terminal, *, output: Path | None, rows: int, verify: bool, as_json: bool) -> None:
    """Print a data set's card, and write a picture of some of its pairs.

    Args:
        uri: A finished data set, local or `s3://`.
        terminal: Where the card is printed.
        output: The contact sheet, a PNG that does not exist yet; `contact-sheet.png` by default.
        rows: Pairs of each split on it; 0 writes none.
        verify: Whether all files are read and compared with the manifest first.
        as_json: Whether a summary of the manifest is printed as JSON instead of the card.

    Raises:
        ConfigError: The output is no PNG.
        DataError: There is no such data set, it is damaged, or the output exists.
    """
    sheet = output or DEFAULT_OUTPUT
    manifest = read_manifest(uri)
    if rows:
        _check_output(sheet)
    damage = _verified(uri, manifest, terminal) if verify else None
    written = str(sheet) if rows and not damage and any(manifest.rows.values()) else None
    if written:
        storage.publish_bytes(written, _png(_rows(uri, manifest, rows)))
    if as_json:
        emit_json(_summary(uri, manifest, written, damage))
    else:
        _print_card(uri, manifest, written, verified=verify and not damage, terminal=terminal)
    if damage:
        raise DataError(f"{uri} is damaged: {len(damage)} file(s) are not what its manifest says; see above")


def _check_output(sheet: Path) -> None:
    if sheet.suffix.lower() != ".png":
        raise ConfigError(f"--output {sheet}: expected a name that ends with .png")
    if sheet.exists():
        raise DataError(
            f"{sheet} exists already; nothing is overwritten, name another with --output, or leave it out with --rows 0"
        )


def _verified(uri: str, manifest: DatasetManifest, terminal: Terminal) -> list[Damage]:
    with terminal.progress("verify") as advance:
        found = verify_dataset(uri, manifest, progress=advance)
    for damage in found:
        terminal.say(f"[red]damaged[/red] {escape(one_line(str(damage)))}")
    return found


def _rows(uri: str, manifest: DatasetManifest, wanted: int) -> list[SheetRow]:
    """Pairs evenly spread over each split."""
    shown = []
    for split in SPLITS:
        if not manifest.rows.get(split):
            continue
        pairs = PairShards(uri, split)
        for index in spread(len(pairs), wanted):
            pictures = pairs.pictures(index)
            caption = f"{split}: {pairs.keys[index]}"
            shown.append(
                SheetRow(caption=caption, degraded=pictures.degraded, clean=pictures.clean, mask=pictures.mask)
            )
    return shown


def _png(rows: list[SheetRow]) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(contact_sheet(rows)).save(picture, "PNG")
    return picture.getvalue()


def _summary(uri: str, manifest: DatasetManifest, sheet: str | None, damage: list[Damage] | None) -> Mapping[str, Any]:
    return {
        "uri": uri,
        "title": manifest.title,
        "fingerprint": manifest.fingerprint,
        "schema_version": manifest.schema_version,
        **{name: manifest.config["card"][name] for name in ("description", "license", "citation", "url")},
        "pictures": manifest.pictures,
        "rows": manifest.rows,
        "num_shards": len(manifest.shards),
        "num_bytes": _num_bytes(manifest),
        "encoding": manifest.config["encoding"],
        "has_masks": manifest.has_masks,
        "num_quarantined": manifest.num_quarantined,
        "statistics": manifest.statistics,
        "versions": manifest.versions,
        "contact_sheet": sheet,
        "damage": None if damage is None else [{"path": item.path, "found": item.found} for item in damage],
    }


def _print_card(uri: str, manifest: DatasetManifest, sheet: str | None, *, verified: bool, terminal: Terminal) -> None:
    card = manifest.config["card"]
    facts = {
        "description": card["description"],
        "licence": card["license"] or _NOT_STATED,
        "citation": card["citation"],
        "source": card["url"],
        "place": uri,
        "size": f"{size_text(_num_bytes(manifest))} in {len(manifest.shards)} files",
        "encoding": manifest.config["encoding"],
        "masks": "in every row" if manifest.has_masks else "no, or not in every row",
        "set aside": f"{manifest.num_quarantined} (see quarantine.jsonl)" if manifest.num_quarantined else "nothing",
        "fingerprint": manifest.fingerprint + (" (all files verified)" if verified else ""),
        "made with": ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items())),
        "contact sheet": sheet or "",
    }
    shown = {name: escape(one_line(text)) for name, text in facts.items() if text}
    terminal.table(escape(one_line(manifest.title)), shown)
    terminal.console.print(_statistics(manifest))


def _statistics(manifest: DatasetManifest) -> Table:
    """One column a split."""
    splits = [split for split in SPLITS if manifest.rows.get(split)]
    table = Table(title="splits: mean (median, range)", title_justify="left")
    for heading in ("", *splits):
        table.add_column(heading, overflow="fold")
    table.add_row("picture pairs", *(f"{manifest.pictures.get(split, 0):,}" for split in splits))
    table.add_row("rows", *(f"{manifest.rows[split]:,}" for split in splits))
    for name, text in FIGURES.items():
        table.add_row(text, *(figures_text(manifest.statistics.get(split, {}), name) for split in splits))
    return table


def _num_bytes(manifest: DatasetManifest) -> int:
    return sum(shard.num_bytes for shard in manifest.shards)
