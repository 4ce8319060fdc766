"""`rddm doctor`: what is wrong with a paired set, before anything of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from jobs.cluster import ray_session
from jobs.config import RunConfig
from jobs.terminal import Terminal, emit_json
from jobs.workspace import Workspace
from pipelines import storage
from pipelines.config_checks import settled
from pipelines.containers.unpacking import packing
from pipelines.dataset.text import one_line
from pipelines.doctor import Diagnosis, diagnose
from pipelines.doctor.findings import NOTE, Finding
from pipelines.doctor.report import render, thumbnails
from rddm.errors import DataError

_SCRATCH = ".doctor"
_SHOWN, _SHOWN_FILES = 20, 4
_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def data(config: RunConfig, terminal: Terminal, *, as_json: bool, html: Path | None, max_pairs: int | None) -> bool:
    """Examine the run's source, and say what was found; nothing of a data set is written.

    A compressed tar archive is unpacked below the run's workspace meanwhile.

    Args:
        config: The run; only its `data` and its cluster are used.
        terminal: Where people read.
        as_json: Whether all of it is printed on stdout.
        html: A page to write, with pictures of what was found.
        max_pairs: Most pairs whose files are opened; none means all.

    Returns:
        Whether nothing is wrong; notes do not count.

    Raises:
        ConfigError: A name or a number in the config is wrong.
        DataError: The source does not exist or cannot be listed, or the page exists already.
        ClusterError: Ray did not start, or workers failed.
    """
    if html is not None and storage.exists(str(html)):
        raise DataError(f"{html} exists already; nothing is overwritten, choose another name or remove it")
    settled(config.data)
    scratch_uri = storage.join(Workspace.of(config).root, _SCRATCH)
    try:
        with terminal.progress("inspect") as advance:
            diagnosis = diagnose(
                config.data,
                max_pairs=max_pairs,
                scratch_uri=scratch_uri,
                session=lambda: ray_session(config.cluster),
                progress=advance,
            )
        _print(diagnosis, terminal)
        if as_json:
            emit_json(diagnosis.to_dict())
        if html is not None:
            page = render(diagnosis, thumbnails(diagnosis, config.data), title=_title(config))
            storage.publish_bytes(str(html), page.encode())
            terminal.say(f"The page with pictures: {escape(one_line(str(html)))}")
    finally:
        if packing(config.data.source.root):  # nothing else is unpacked
            storage.remove(scratch_uri)
    return diagnosis.is_well


def _title(config: RunConfig) -> str:
    return config.data.source.root or config.data.source.pairs_uri or config.data.source.kind


def _print(diagnosis: Diagnosis, terminal: Terminal) -> None:
    if diagnosis.findings:
        terminal.console.print(_table(diagnosis))
    for kind, findings in diagnosis.by_kind():
        if findings[0].severity != NOTE and len(findings) > 1:
            _print_kind(kind, findings, terminal)
    counts = ", ".join(f"{count} {severity}{'s' * (count != 1)}" for severity, count in diagnosis.counts.items())
    sample = "" if diagnosis.num_inspected == diagnosis.num_pairs else f" ({diagnosis.num_inspected} of them opened)"
    terminal.say(f"{diagnosis.num_pairs} pairs{sample}, {diagnosis.num_files} files: {counts}")


def _print_kind(kind: str, findings: Sequence[Finding], terminal: Terminal) -> None:
    terminal.say(f"[bold]{kind}[/]")
    for finding in findings[:_SHOWN]:
        terminal.say(f"  {escape(_example(finding))}")
    if len(findings) > _SHOWN:
        terminal.say(f"  and {len(findings) - _SHOWN} more; --json lists all")


def _table(diagnosis: Diagnosis) -> Table:
    """One row a kind, the gravest first."""
    table = Table(title="What the doctor found", title_justify="left", show_lines=True)
    for name in ("severity", "kind", "count", "example", "what to do"):
        table.add_column(name, overflow="fold", justify="right" if name == "count" else "left")
    for kind, findings in diagnosis.by_kind():
        severity = f"[{_COLOURS[findings[0].severity]}]{findings[0].severity}[/]"
        example, remedy = (escape(one_line(text)) for text in (_example(findings[0]), findings[0].remedy))
        table.add_row(severity, kind, str(len(findings)), example, remedy)
    return table


def _example(finding: Finding) -> str:
    files = ", ".join(finding.files[:_SHOWN_FILES])
    more = f" and {len(finding.files) - _SHOWN_FILES} more" if len(finding.files) > _SHOWN_FILES else ""
    return one_line(f"{files}{more}: {finding.found}")
