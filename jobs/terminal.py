"""Text for people on stderr, results for machines on stdout."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


class Advance(Protocol):
    """Says how far a piece of work has come."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total`, with a short note beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminal:
    """Where a verb speaks: live bars when someone is watching, plain lines otherwise.

    Attributes:
        console: Rich console on stderr.
        plain_interval_s: Least time between two plain progress lines, in seconds.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    plain_interval_s: float = 10.0

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print the title of a stage."""
        self.console.rule(f"[bold]{text}", align="left")

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        """Print a two-column table; its values are never cut."""
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """Show the progress of one stage while the block runs."""
        with self.stages() as stage:
            yield stage(title)

    @contextmanager
    def stages(self) -> Iterator[Callable[[str], Advance]]:
        """Show the progress of several stages, each under its own title, while the block runs."""
        if self.console.is_terminal:
            with _bars(self.console) as bars:
                yield functools.cache(lambda title: _BarAdvance(bars, title))
        else:
            yield functools.cache(lambda title: _LineAdvance(self, title))


def emit_json(result: Mapping[str, Any]) -> None:
    """Print a result on stdout, as one JSON document."""
    print(json.dumps(result, indent=2, ensure_ascii=False, default=str), flush=True)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
    )


class _BarAdvance:
    """One live bar."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None, note="")

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self._bars.update(self._task, completed=done, total=total or None, note=note)


class _LineAdvance:
    """Plain lines, not more often than the terminal's interval, and one at the end."""

    def __init__(self, terminal: Terminal, title: str) -> None:
        self._terminal, self._title = terminal, title
        self._last = (-1, -1)
        self._spoke_at = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        due = now - self._spoke_at >= self._terminal.plain_interval_s or done == total
        if due and (done, total) != self._last:
            self._terminal.say(f"{self._title}: {done}/{total} {note}".rstrip())
            self._last, self._spoke_at = (done, total), now
