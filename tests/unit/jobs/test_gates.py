from __future__ import annotations

import dataclasses

import pytest

from jobs.config import PromoteConfig
from jobs.gates import GATES, Candidate

GOOD = Candidate(
    scores={"psnr_db": 30.0, "input_psnr_db": 20.0, "ssim": 0.9},
    champion_scores={"psnr_db": 30.05, "ssim": 0.9},
    same_test_set=True,
    bundle_error=None,
)
CONFIG = PromoteConfig(min_psnr_gain_db=3.0, min_ssim=0.8, champion_margin_db=0.1)
REFUSED = {
    "bundle_loads": dataclasses.replace(GOOD, bundle_error="it is damaged"),
    "gain_over_input": dataclasses.replace(GOOD, scores={**GOOD.scores, "input_psnr_db": 28.0}),
    "minimum_ssim": dataclasses.replace(GOOD, scores={**GOOD.scores, "ssim": 0.79}),
    "not_worse_than_champion": dataclasses.replace(GOOD, champion_scores={"psnr_db": 30.2}),
}


@pytest.mark.parametrize("name", list(GATES))
def test_a_gate_passes_and_refuses_constructed_reports(name: str) -> None:
    passed, refused = GATES[name](GOOD, CONFIG), GATES[name](REFUSED[name], CONFIG)
    assert passed.passed
    assert not refused.passed
    assert passed.gate == refused.gate == name
    assert refused.measured
    assert refused.required


@pytest.mark.parametrize("name", [name for name in GATES if name != "bundle_loads"])
def test_what_was_never_evaluated_is_not_promoted(name: str) -> None:
    unknown = dataclasses.replace(GOOD, scores={})
    assert not GATES[name](unknown, CONFIG).passed


def test_the_first_champion_has_no_rival_and_another_test_set_is_no_comparison() -> None:
    gate = GATES["not_worse_than_champion"]
    assert gate(dataclasses.replace(GOOD, champion_scores=None), CONFIG).passed
    assert not gate(dataclasses.replace(GOOD, same_test_set=False), CONFIG).passed
