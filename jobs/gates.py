"""Promotion gates: what a version must show, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.config import PromoteConfig
from rddm.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What is known of a version when it knocks.

    Attributes:
        scores: Its figures on the pinned split, such as `psnr_db`; empty if it was never evaluated.
        champion_scores: The present champion's, or None where there is no champion.
        same_test_set: Whether both were scored on the same data set and protocol.
        bundle_error: Why its bundle does not load, or None if it does.
    """

    scores: dict[str, float]
    champion_scores: dict[str, float] | None
    same_test_set: bool
    bundle_error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """One gate's answer.

    Attributes:
        gate: Its name.
        passed: Whether the version may go on.
        measured: What was found, in words.
        required: What is needed, in words.
    """

    gate: str
    passed: bool
    measured: str
    required: str


Gate = Callable[[Candidate, PromoteConfig], GateResult]
GATES: Registry[Gate] = Registry("promotion gate")


@GATES.register("bundle_loads")
def bundle_loads(candidate: Candidate, config: PromoteConfig) -> GateResult:
    """The stored bundle loads, and its hash is the registered one."""
    error = candidate.bundle_error
    return GateResult(
        gate="bundle_loads", passed=error is None, measured=error or "loads", required="loads, hash as registered"
    )


@GATES.register("gain_over_input")
def gain_over_input(candidate: Candidate, config: PromoteConfig) -> GateResult:
    """Restoring helps: the mean PSNR is above the input's by the required gain."""
    if not {"psnr_db", "input_psnr_db"} <= candidate.scores.keys():
        return _unmeasured("gain_over_input")
    gain = candidate.scores["psnr_db"] - candidate.scores["input_psnr_db"]
    return GateResult(
        gate="gain_over_input",
        passed=gain >= config.min_psnr_gain_db,
        measured=f"{gain:+.2f} dB ({candidate.scores['input_psnr_db']:.2f} -> {candidate.scores['psnr_db']:.2f})",
        required=f"{config.min_psnr_gain_db:+.2f} dB or more",
    )


@GATES.register("minimum_ssim")
def minimum_ssim(candidate: Candidate, config: PromoteConfig) -> GateResult:
    """The mean SSIM is not below the configured minimum."""
    if "ssim" not in candidate.scores:
        return _unmeasured("minimum_ssim")
    ssim = candidate.scores["ssim"]
    return GateResult(
        gate="minimum_ssim",
        passed=config.min_ssim is None or ssim >= config.min_ssim,
        measured=f"{ssim:.4f}",
        required="any" if config.min_ssim is None else f"{config.min_ssim:.4f} or more",
    )


@GATES.register("not_worse_than_champion")
def not_worse_than_champion(candidate: Candidate, config: PromoteConfig) -> GateResult:
    """The mean PSNR is not below the champion's by more than the margin, on the same test set."""
    champion = candidate.champion_scores
    if champion is None:
        return GateResult(gate="not_worse_than_champion", passed=True, measured="no champion yet", required="-")
    if "psnr_db" not in candidate.scores or "psnr_db" not in champion:
        return _unmeasured("not_worse_than_champion")
    required = champion["psnr_db"] - config.champion_margin_db
    return GateResult(
        gate="not_worse_than_champion",
        passed=candidate.same_test_set and candidate.scores["psnr_db"] >= required,
        measured=f"{candidate.scores['psnr_db']:.2f} dB" + ("" if candidate.same_test_set else ", on another test set"),
        required=f"{required:.2f} dB (champion {champion['psnr_db']:.2f} - {config.champion_margin_db:.2f})",
    )


def _unmeasured(gate: str) -> GateResult:
    return GateResult(gate=gate, passed=False, measured="never evaluated", required="`rddm evaluate` first")
