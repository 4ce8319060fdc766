"""Short trial trainings of several candidates, compared on a score, with fewer candidates in each round.

Successive halving (Jamieson and Talwalkar 2016): every round has the same share of the budget, so that those that
are kept are trained longer and longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One round.

    Attributes:
        num_steps: Updates that each candidate was given in it.
        scores: What each candidate reached; higher is better.
        kept: The better half of them.
    """

    num_steps: int
    scores: dict[str, float]
    kept: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "kept": list(self.kept)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rung:
        """What `to_dict` gave."""
        return cls(**{**values, "kept": tuple(values["kept"])})


def successive_halving(
    candidates: Sequence[str], *, budget_steps: int, train: Callable[[str, int], float]
) -> list[Rung]:
    """Rounds of training until one candidate is left.

    Args:
        candidates: Names, at least one.
        budget_steps: Updates in all, over all candidates and rounds; never exceeded.
        train: (name, n) -> trains a candidate for n more updates, and gives its score, higher is better.

    Returns:
        The rounds; the last one keeps one candidate.

    Raises:
        ValueError: There is no candidate, or the budget gives none of them an update in each round.
    """
    num_rungs = max(1, math.ceil(math.log2(len(candidates)))) if candidates else 0
    if not candidates or budget_steps // num_rungs < len(candidates):
        raise ValueError(
            f"budget_steps is {budget_steps} for {len(candidates)} candidates; expected one or more, each with an "
            f"update in each of {num_rungs} rounds"
        )
    rungs: list[Rung] = []
    left = list(candidates)
    for _ in range(num_rungs):
        num_steps = budget_steps // num_rungs // len(left)
        scores = {name: train(name, num_steps) for name in left}
        ranks = {name: _rank(score) for name, score in scores.items()}
        left = sorted(left, key=ranks.__getitem__)[: math.ceil(len(left) / 2)]
        rungs.append(Rung(num_steps=num_steps, scores=scores, kept=tuple(left)))
    return rungs


def _rank(score: float) -> float:
    """Lower is better; a candidate whose training went astray scores NaN, and comes last."""
    return math.inf if math.isnan(score) else -score
