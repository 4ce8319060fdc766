"""`rddm promote`: put a version through its gates, and point the champion's alias at it if all of them hold."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from jobs.config import RunConfig
from jobs.gates import GATES, Candidate, GateResult
from jobs.model_registry import ModelRegistry, Version
from jobs.terminal import Terminal
from jobs.workspace import tracking_uri
from rddm.errors import BundleError, GateRefusedError, ModelNotFoundError

SCORE_TAG_PREFIX = "score."
TEST_SET_TAG = "test_set"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionReport:
    """What happened.

    Attributes:
        model: Registered model.
        version: The version that knocked.
        alias: The alias asked for.
        previous: The version that held the alias before, or None.
        gates: Every gate's answer.
    """

    model: str
    version: int
    alias: str
    previous: int | None
    gates: tuple[GateResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def run(config: RunConfig, terminal: Terminal, *, version: int | None = None) -> PromotionReport:
    """Promote a version, by default the newest.

    The alias is the last thing that changes, in one request: a promotion that is cut short leaves the old champion.

    Raises:
        GateRefusedError: A gate does not hold; nothing was changed.
        ModelNotFoundError: There is no such version.
        RegistryUnreachableError: MLflow does not answer.
    """
    registry = ModelRegistry(tracking_uri(config))
    candidate, champion = _find(registry, config, version)
    results = _ask(registry, config, candidate, champion)
    _show(terminal, candidate, results)
    refused = [result for result in results if not result.passed]
    if refused:
        raise GateRefusedError(_refusal(candidate, refused))
    registry.set_tags(candidate, {f"promotion.{config.promote.alias}": json.dumps([asdict(r) for r in results])})
    registry.set_alias(candidate, config.promote.alias)
    terminal.say(f"Promoted: models:/{candidate.name}@{config.promote.alias} is version {candidate.number}.")
    return PromotionReport(
        model=candidate.name,
        version=candidate.number,
        alias=config.promote.alias,
        previous=champion.number if champion else None,
        gates=tuple(results),
    )


def plan(config: RunConfig, terminal: Terminal, *, version: int | None = None) -> dict[str, Any]:
    """Ask the gates and change nothing."""
    registry = ModelRegistry(tracking_uri(config))
    candidate, champion = _find(registry, config, version)
    results = _ask(registry, config, candidate, champion)
    _show(terminal, candidate, results)
    return {
        "would_promote": all(r.passed for r in results),
        "version": candidate.number,
        "gates": [asdict(r) for r in results],
    }


def scores_of(version: Version) -> dict[str, float]:
    """The figures that `rddm evaluate` left on a version."""
    return {
        key.removeprefix(SCORE_TAG_PREFIX): float(value)
        for key, value in version.tags.items()
        if key.startswith(SCORE_TAG_PREFIX)
    }


def _find(registry: ModelRegistry, config: RunConfig, number: int | None) -> tuple[Version, Version | None]:
    name = config.model_name
    candidate = registry.latest(name) if number is None else registry.resolve(f"models:/{name}/{number}")
    return candidate, registry.champion(name, config.promote.alias)


def _ask(registry: ModelRegistry, config: RunConfig, version: Version, champion: Version | None) -> list[GateResult]:
    candidate = Candidate(
        scores=scores_of(version),
        champion_scores=scores_of(champion) if champion else None,
        same_test_set=champion is None or champion.tags.get(TEST_SET_TAG) == version.tags.get(TEST_SET_TAG),
        bundle_error=_bundle_error(registry, version),
    )
    return [GATES[name](candidate, config.promote) for name in config.promote.gates]


def _bundle_error(registry: ModelRegistry, version: Version) -> str | None:
    try:
        registry.bundle(version.uri)
    except (BundleError, ModelNotFoundError) as error:
        return str(error)
    return None


def _show(terminal: Terminal, version: Version, results: list[GateResult]) -> None:
    rows = {
        f"{'pass' if result.passed else 'REFUSED'}  {result.gate}": f"{result.measured}  (needs {result.required})"
        for result in results
    }
    terminal.table(f"Gates for {version.uri}", rows)


def _refusal(version: Version, refused: list[GateResult]) -> str:
    reasons = "; ".join(f"{r.gate} is {r.measured}, the gate needs {r.required}" for r in refused)
    return f"Not promoted: {version.uri}: {reasons}. Nothing was changed."
