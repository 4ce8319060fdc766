"""An exponential moving average of a network's weights: what is validated, kept and used."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class EMA:
    """Averages the state of a network.

    Early on the decay is min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is soon forgotten.

    Args:
        net: The network that is averaged.
        decay: Weight of the past, in [0, 1).

    Raises:
        ValueError: The decay is outside that range.
    """

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        """Start from the network's present weights."""
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; expected a number in [0, 1)")
        self._decay = decay
        self._num_updates = 0
        self._average = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the network."""
        self._num_updates += 1
        share = 1 - min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        state = net.state_dict()
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self._average[n] for n in floating], [state[n] for n in floating], share)
        for name in state.keys() - set(floating):
            self._average[name].copy_(state[name])

    def module(self, net: nn.Module) -> nn.Module:
        """A copy of the network that holds the average, in evaluation mode."""
        averaged = copy.deepcopy(net)
        averaged.load_state_dict(self._average)
        return averaged.eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {"num_updates": self._num_updates, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self._num_updates = int(state["num_updates"])
        average: Mapping[str, Tensor] = state["average"]
        for name, tensor in self._average.items():
            tensor.copy_(average[name])
