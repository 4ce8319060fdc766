"""The official networks by the calls that name them: `UnetRes(dim=8,dim_mults=(1,2),share_encoder=0)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain_unet import plain_form
from rddm.nets import NETWORKS, Network

IMAGE_CHANNELS = 3
_ARRANGEMENTS = {1: ("shared_encoder", 2), 0: ("two", 2), -1: ("wrapped", 1)}
_POSITIONAL = ("dim", "dim_mults")
_SMALL = {"dim": 8, "dim_mults": (1, 2), "condition": True, "input_condition": False}
_FULL = {**_SMALL, "dim": 64, "dim_mults": (1, 2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Architecture:
    """An official network.

    Attributes:
        channels: Width (official: `dim`).
        multipliers: Width at each level.
        images_seen: x_t; the degraded image; a mask or a third image.
        arrangement: By our names.
        outputs: Images that it gives.
    """

    channels: int
    multipliers: tuple[int, ...]
    images_seen: int
    arrangement: str
    outputs: int

    def build(self) -> Network:
        """With torch's initial weights."""
        return NETWORKS["official_unet"](
            IMAGE_CHANNELS * self.images_seen,
            IMAGE_CHANNELS * self.outputs,
            channels=self.channels,
            multipliers=self.multipliers,
            arrangement=self.arrangement,
        )


def architecture(call: str, *, full_size: bool = False) -> Architecture:
    """What a call names.

    Args:
        call: `Unet(...)` or `UnetRes(...)`; what follows the parenthesis is a comment.
        full_size: Whether what it leaves out is as in the paper, or as in the tiny networks of the reference.

    Raises:
        ValueError: It is no such call, or has an argument that nobody knows.
    """
    name, arguments = _arguments(call)
    known = {*_FULL, *(("share_encoder",) if name == "UnetRes" else ())}
    if unknown := arguments.keys() - known:
        raise ValueError(f"nobody knows what {sorted(unknown)} means for a {name}")
    given: dict[str, Any] = {**(_FULL if full_size else _SMALL), **arguments}
    arrangement, outputs = ("one", 1) if name == "Unet" else _ARRANGEMENTS[given["share_encoder"]]
    seen = 1 + bool(given["condition"]) + bool(given["input_condition"])
    return Architecture(given["dim"], tuple(given["dim_mults"]), seen, arrangement, outputs)


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a network.

    Attributes:
        ours: By `rddm.nets.official`.
        plain: By the same weights, operation after operation as the equations read.
    """

    ours: Tensor
    plain: Tensor


@lru_cache
def with_formula_weights(network: Architecture) -> Network:
    """The network with the weights of the reference's README."""
    net = network.build()
    state = net.state_dict()
    for k, (name, value) in enumerate(state.items()):
        flat = torch.arange(value.numel(), dtype=torch.float64)
        gain = 1.0 if name.endswith((".norm.weight", ".g")) else 0.0
        state[name] = (gain + 0.08 * torch.sin(0.7 * flat + 1.3 * k)).to(torch.float32).reshape(value.shape)
    net.load_state_dict(state, strict=True)
    return net.eval()


def output(call: str, part: str, arrays: Mapping[str, Tensor]) -> Output:
    """One output of a tiny network for the reference's input.

    Raises:
        ValueError: The network has no such output, or there is no input for it.
    """
    network = architecture(call)
    index = 0 if part == "out" else int(part.removeprefix("out"))
    if index >= network.outputs or (part == "out" and network.outputs > 1):
        raise ValueError(f"{part!r} of a network with {network.outputs} outputs")
    x, time = _input(IMAGE_CHANNELS * network.images_seen, arrays), arrays["unet|t"].to(torch.float32)
    net = with_formula_weights(network)
    with torch.no_grad():
        return Output(*(form(x, time).chunk(network.outputs, dim=1)[index] for form in (net, plain_form(net))))


def parameter_count(call: str) -> int:
    """Of a network of the paper's size, without its memory."""
    with torch.device("meta"):
        net = architecture(call, full_size=True).build()
    return sum(parameter.numel() for parameter in net.parameters())


def names_and_shapes(call: str) -> list[list[object]]:
    """The state dict's, in order."""
    with torch.device("meta"):
        net = architecture(call).build()
    return [[name, list(value.shape)] for name, value in net.state_dict().items()]


def _input(channels: int, arrays: Mapping[str, Tensor]) -> Tensor:
    """An input with so many channels, if the file has one; else the first channels of the largest one."""
    given = [array for key, array in arrays.items() if key.startswith("unet|input")]
    enough = sorted((array for array in given if array.shape[1] >= channels), key=lambda array: array.shape[1])
    if not enough:
        raise ValueError(f"no `unet|input` with {channels} channels")
    return enough[0][:, :channels]


def _arguments(call: str) -> tuple[str, dict[str, Any]]:
    code = call[: call.rindex(")") + 1] if ")" in call else call
    try:
        expression = ast.parse(code.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{call!r} is no call") from error
    if not isinstance(expression, ast.Call) or not isinstance(expression.func, ast.Name):
        raise ValueError(f"{call!r} is no call")
    name = expression.func.id
    if name not in ("Unet", "UnetRes"):
        raise ValueError(f"{name!r} is no official network; expected Unet or UnetRes")
    arguments = dict(zip(_POSITIONAL, (ast.literal_eval(value) for value in expression.args), strict=False))
    arguments |= {keyword.arg: ast.literal_eval(keyword.value) for keyword in expression.keywords if keyword.arg}
    return name, arguments
