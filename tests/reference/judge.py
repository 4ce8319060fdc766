"""What it means that a number is right: how far ours may be from the official one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec

import torch
from torch import Tensor

from rddm.errors import RDDMError

Arguments = ParamSpec("Arguments")

COEFFICIENT, TENSOR = 1e-6, 1e-5
"""Largest difference of a coefficient, and of an image or a loss; times the official number where that exceeds 1."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one entry.

    Attributes:
        key: The entry.
        status: `ok`, `FAIL`, `ERROR` (it could not be computed), or `given` (nothing to compute).
        error: The largest absolute difference.
        scaled: The largest difference, each divided by max(1, |official|).
        text: What went wrong, or what the entry says.
    """

    key: str
    status: str
    error: float = 0.0
    scaled: float = 0.0
    text: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.status in ("ok", "given")

    def __str__(self) -> str:
        """One line."""
        numbers = f"{self.error:.2e} {self.scaled:.2e}" if self.status in ("ok", "FAIL") else " " * 17
        return f"{self.status:<5} {numbers}  {self.key}{'  ' + self.text if self.text else ''}"


def judge(
    key: str, official: Tensor, ours: Tensor, tolerance: float, *, whole: bool = False, text: str = ""
) -> Verdict:
    """Compare in the precision of the official number; the same infinity, and NaN with NaN, count as equal.

    Args:
        key: Name of the entry.
        official: The official numbers.
        ours: Ours.
        tolerance: Largest scaled difference.
        whole: Whether to scale by the largest official number of all, as for the outputs of networks: every pixel of
            those is a sum over the whole image, and carries the rounding of its largest parts.
        text: Said beside the numbers.
    """
    ours = ours.to(official.dtype).to(torch.float64)
    official = official.to(torch.float64)
    if official.shape != ours.shape:
        return Verdict(key, "FAIL", text=f"official shape {tuple(official.shape)}, ours {tuple(ours.shape)}")
    same = (official == ours) | (official.isnan() & ours.isnan())
    error = torch.where(same, 0.0, (ours - official).abs()).nan_to_num(nan=torch.inf)
    magnitude = torch.where(official.isfinite(), official.abs().clamp(min=1), 1.0)
    if not error.numel():
        return Verdict(key, "FAIL", text="nothing to compare")
    worst = float((error / (magnitude.max() if whole else magnitude)).max())
    return Verdict(key, "ok" if worst <= tolerance else "FAIL", float(error.max()), worst, text)


UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RDDMError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a key or a setting that nobody knows may raise."""


def attempt(
    key: str, check: Callable[Arguments, Iterable[Verdict]], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> list[Verdict]:
    """The verdicts of a check, or the error that kept it from them."""
    try:
        return list(check(*args, **kwargs))
    except UNREADABLE as error:
        return [Verdict(key, "ERROR", text=f"{type(error).__name__}: {error}")]
