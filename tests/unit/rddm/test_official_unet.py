"""The official architecture against numbers of the official implementation, and against its equations as they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain_unet import plain_form
from rddm.errors import ConfigError
from rddm.nets import ARRANGEMENTS, NETWORKS, Network
from rddm.nets.official_layers import EPS, LinearAttention, Upsample, standardised

TINY = {"channels": 8, "multipliers": (1, 2)}
STATES: dict[str, dict[str, Any]] = {
    "Unet(dim=8,dim_mults=(1,2),condition=True)": {"sizes": (6, 3)},
    "Unet(dim=8,dim_mults=(1,2,4),condition=False)": {"sizes": (3, 3), "multipliers": (1, 2, 4)},
    "UnetRes(share_encoder=1)": {"sizes": (6, 6), "arrangement": "shared_encoder"},
    "UnetRes(share_encoder=0)": {"sizes": (6, 6), "arrangement": "two"},
    "UnetRes(share_encoder=-1)": {"sizes": (6, 3), "arrangement": "wrapped"},
}
COUNTS = {
    "Unet(64,(1,2,4,8),condition=False,input_condition=False)": ("one", 3, 3),
    "Unet(64,(1,2,4,8),condition=True,input_condition=False)": ("one", 6, 3),
    "Unet(64,(1,2,4,8),condition=True,input_condition=True)": ("one", 9, 3),
    "UnetRes(64,(1,2,4,8),share_encoder=1,condition=True)": ("shared_encoder", 6, 6),
    "UnetRes(64,(1,2,4,8),share_encoder=0,condition=True)": ("two", 6, 6),
    "UnetRes(64,(1,2,4,8),share_encoder=-1,condition=True)": ("wrapped", 6, 3),
    "UnetRes(share_encoder=0,condition=True,input_condition=True) [ISTD, 9-channel input]": ("two", 9, 6),
}
OUTPUTS = {
    "Unet(dim=8,dim_mults=(1,2),condition=True)|out": ("one", slice(0, 3)),
    "UnetRes(dim=8,dim_mults=(1,2),share_encoder=1,condition=True)|out0": ("shared_encoder", slice(0, 3)),
    "UnetRes(dim=8,dim_mults=(1,2),share_encoder=1,condition=True)|out1": ("shared_encoder", slice(3, 6)),
    "UnetRes(dim=8,dim_mults=(1,2),share_encoder=0,condition=True)|out0": ("two", slice(0, 3)),
    "UnetRes(dim=8,dim_mults=(1,2),share_encoder=0,condition=True)|out1": ("two", slice(3, 6)),
}


@pytest.fixture(scope="module")
def arrays(shared: Path) -> dict[str, Tensor]:
    with np.load(shared / "fixtures/rddm/official.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if key.startswith("unet|")}


@pytest.fixture(scope="module")
def tables(shared: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared / "fixtures/rddm/official.json").read_text())
    return loaded


def official(sizes: tuple[int, int], **options: Any) -> Network:
    torch.manual_seed(0)
    return NETWORKS["official_unet"](*sizes, **{**TINY, **options})


def images_of(arrangement: str) -> int:
    return 3 if arrangement in ("one", "wrapped") else 6


def with_formula_weights(net: Network) -> Network:
    """The weights of the fixtures' README."""
    state = net.state_dict()
    for k, (name, value) in enumerate(state.items()):
        flat = torch.arange(value.numel(), dtype=torch.float64)
        gain = 1.0 if name.endswith((".norm.weight", ".g")) else 0.0
        state[name] = (gain + 0.08 * torch.sin(0.7 * flat + 1.3 * k)).to(torch.float32).reshape(value.shape)
    net.load_state_dict(state, strict=True)
    return net


@pytest.mark.parametrize("name", list(STATES))
def test_state_dicts_carry_the_official_names_and_shapes(tables: dict[str, Any], name: str) -> None:
    state = official(**STATES[name]).state_dict()
    assert [[key, list(value.shape)] for key, value in state.items()] == tables["unet_state_dict_names"][name]


def test_every_official_state_dict_is_covered(tables: dict[str, Any]) -> None:
    assert set(tables["unet_state_dict_names"]) == set(STATES)
    assert set(tables["param_counts"]) == set(COUNTS)


@pytest.mark.parametrize("name", list(COUNTS))
def test_parameter_counts_at_full_size(tables: dict[str, Any], name: str) -> None:
    arrangement, *sizes = COUNTS[name]
    with torch.device("meta"):
        net = NETWORKS["official_unet"](*sizes, arrangement=arrangement)
    assert sum(parameter.numel() for parameter in net.parameters()) == tables["param_counts"][name]


@pytest.mark.parametrize("name", list(OUTPUTS))
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_are_the_official_ones(
    arrays: dict[str, Tensor], name: str, memory_format: torch.memory_format
) -> None:
    """To 1e-5 of the largest value; the plain form matches every bit on processors with AVX2 and without AVX-512.

    Outputs of the residual's decoder reach 6.4, and rounding alone moves them by 6e-5 between instruction sets.
    """
    arrangement, channels = OUTPUTS[name]
    net = with_formula_weights(official((6, images_of(arrangement)), arrangement=arrangement))
    net.to(memory_format=memory_format)  # type: ignore[call-overload]
    expected = arrays[f"unet|{name}"]
    with torch.no_grad():
        outputs = net(arrays["unet|input"], arrays["unet|t"].float())[:, channels]
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(outputs, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("arrangement", list(ARRANGEMENTS))
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("scale", ["area", "none"])
def test_the_equations_as_they_read_give_the_same(arrangement: str, batch: int, scale: str) -> None:
    """Outputs and the gradients of every parameter, in float64, where only a different formula could differ."""
    net = official((6, 6), multipliers=(1, 2, 3), arrangement=arrangement, attention_scale=scale).double()
    x, time = torch.randn(batch, 6, 8, 12, dtype=torch.float64), torch.rand(batch, dtype=torch.float64) * 1000
    plain = plain_form(net)
    ours, theirs = net(x, time), plain(x, time)
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)
    expected = torch.autograd.grad(theirs.square().mean(), [plain.get_parameter(n) for n, _ in net.named_parameters()])
    gradients = torch.autograd.grad(ours.square().mean(), list(net.parameters()))
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-10, rtol=1e-8)


def test_two_networks_may_be_told_different_times() -> None:
    net = official((6, 6), arrangement="two")
    x, times = torch.randn(2, 6, 8, 8), torch.tensor([[3.0, 500.0], [771.0, 20.0]])
    both = net(x, times)
    torch.testing.assert_close(both[:, :3], net(x, times[:, 0])[:, :3])
    torch.testing.assert_close(both[:, 3:], net(x, times[:, 1])[:, 3:])


@pytest.mark.parametrize("arrangement", ["one", "shared_encoder", "wrapped"])
def test_what_has_one_encoder_has_one_time(arrangement: str) -> None:
    net = official((6, 6), arrangement=arrangement)
    x = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(net(x, torch.tensor([[3.0], [7.0]])), net(x, torch.tensor([3.0, 7.0])))
    with pytest.raises(ValueError, match=r"time has shape \(2, 2\)"):
        net(x, torch.zeros(2, 2))


def test_attention_fades_with_the_area_unless_told_not_to() -> None:
    """Before its norm, the part that reads the values is divided by the number of pixels."""
    area, none = LinearAttention(8, "area"), LinearAttention(8, "none")
    none.load_state_dict(area.state_dict())
    x = torch.randn(1, 8, 5, 10)
    for part in (area, none):
        part.to_out[1] = nn.Identity()
        nn.init.zeros_(part.to_out[0].bias)  # type: ignore[arg-type]
    torch.testing.assert_close(50 * area(x), none(x))


def test_a_standardised_filter_has_mean_0_and_variance_1() -> None:
    weight = torch.randn(5, 4, 3, 3)
    expected = (weight - weight.mean((1, 2, 3), keepdim=True)) / (
        weight.var((1, 2, 3), unbiased=False, keepdim=True) + EPS
    ).sqrt()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(standardised(weight.contiguous(memory_format=memory_format)), expected)


def test_doubling_and_convolving_is_one_transposed_convolution() -> None:
    up = Upsample(4, 2).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(up(x), up.conv(nn.functional.interpolate(x, scale_factor=2, mode="nearest")))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 12}, ValueError, "channels is 12; expected a multiple of 8"),
        ({"multipliers": ()}, ValueError, "multipliers is"),
        ({"attention_scale": "volume"}, ValueError, "attention_scale is 'volume'"),
        ({"arrangement": "too"}, ConfigError, "did you mean 'two'"),
        ({"arrangement": "two"}, ValueError, "out_channels is 3; expected an even number"),
        ({"arrangement": "shared_encoder"}, ValueError, "out_channels is 3; expected an even number"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        official((6, 3), **options)
