"""Times several ways of doing one thing in turn, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds of each repeat of one side."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to report."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        """Median and range in milliseconds."""
        return f"{1e3 * self.median:.1f} ms ({1e3 * min(self.seconds):.1f}..{1e3 * max(self.seconds):.1f})"


def interleave(sides: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int = 1) -> dict[str, Timing]:
    """Run every side once, then every side again, `repeats` times, each round beginning with another side.

    Args:
        sides: Name -> what to time; called without arguments.
        repeats: Timed rounds.
        warmup: Rounds before them that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(-warmup, repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            took = _timed(sides[name])
            if turn >= 0:
                seconds[name].append(took)
    return {name: Timing(seconds=tuple(values)) for name, values in seconds.items()}


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def speedup(timings: Mapping[str, Timing], *, slow: str, fast: str) -> float:
    """How many times as fast one side is: the median over rounds of the ratio within a round."""
    pairs = zip(timings[slow].seconds, timings[fast].seconds, strict=True)
    return statistics.median(before / after for before, after in pairs)


def report(title: str, timings: Mapping[str, Timing]) -> float:
    """Print each side's figures, and return how many times as fast `ours` is as `plain`."""
    for name, timing in timings.items():
        print(f"{title:<16} {name:<16} {timing!s:<34} {speedup(timings, slow='plain', fast=name):.2f}x")
    return round(speedup(timings, slow="plain", fast="ours"), 4)


def machine() -> str:
    """Processor, threads in use and torch's version, for the head of a result."""
    return f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
