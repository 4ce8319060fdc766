from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rddm.nets import ARRANGEMENTS, NETWORKS, Network, fold_weight_standardisation, for_inference
from rddm.nets.official_layers import StandardisedConv2d, Upsample

FOLDS = [fold_weight_standardisation, for_inference]


@pytest.fixture(scope="module", params=list(ARRANGEMENTS))
def net(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return NETWORKS["official_unet"](6, 6, channels=8, multipliers=(1, 2), arrangement=request.param)


def inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(batch, 6, 16, 12), torch.rand(batch) * 1000


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_folded_network_gives_the_same(net: Network, fold: Any, batch: int) -> None:
    x, time = inputs(batch)
    torch.testing.assert_close(fold(net)(x, time), net(x, time), atol=1e-5, rtol=0)


@pytest.mark.parametrize("fold", FOLDS)
def test_folding_leaves_the_network_alone_and_folding_again_changes_nothing(net: Network, fold: Any) -> None:
    before = copy.deepcopy(net.state_dict())
    once = fold(net)
    twice = fold(once)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(value, once.state_dict()[name]) for name, value in twice.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_names_and_shapes_stay_and_nothing_is_left_to_fold(net: Network) -> None:
    folded = fold_weight_standardisation(net)
    assert {n: v.shape for n, v in folded.state_dict().items()} == {n: v.shape for n, v in net.state_dict().items()}
    assert list(for_inference(net).state_dict()) == list(net.state_dict())
    assert not any(isinstance(part, StandardisedConv2d) for part in folded.modules())
    assert not any(isinstance(part, StandardisedConv2d | Upsample) for part in for_inference(net).modules())


def test_an_inference_network_asks_for_no_gradients_and_is_in_evaluation_mode(net: Network) -> None:
    ready = for_inference(net)
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert not any(part.training for part in ready.modules())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_any_network_can_be_made_ready(name: str) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name](6, 3, channels=8)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.05)
    x, time = torch.randn(1, 6, 16, 16), torch.tensor([0.5])
    torch.testing.assert_close(for_inference(net)(x, time), net(x, time), atol=1e-5, rtol=1e-5)


COMPILE = """
import copy, torch
from rddm.nets import NETWORKS, fold_weight_standardisation, for_inference

torch.set_num_threads(1)
net = NETWORKS["official_unet"](6, 6, channels=8, multipliers=(1, 2), arrangement="shared_encoder")
x, time = torch.randn(1, 6, 16, 12), torch.rand(1) * 1000
for fold in (copy.deepcopy, fold_weight_standardisation, for_inference):
    ready = fold(net)
    compiled = torch.compile(ready, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, time), ready(x, time), atol=1e-5, rtol=0)
"""


def test_compiling_needs_one_graph_and_changes_nothing() -> None:
    """The `eager` backend needs no C++ compiler, and `fullgraph` fails on anything that cannot be traced.

    In a process of its own, because what checks shapes while tests run cannot be traced.
    """
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
