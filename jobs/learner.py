"""A network, its optimiser and its average, one update at a time; knows nothing of Ray, files or trackers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jobs.config import TrainConfig
from rddm.ema import EMA
from rddm.errors import TrainingError
from rddm.training import LossParts

Wrap = Callable[[nn.Module], nn.Module]
Loss = Callable[[nn.Module], Tensor]
Rate = Callable[[int], float]
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


class Learner:
    """What one phase of a training changes: weights, their average, the optimiser, and the step.

    Attributes:
        net: The bare network.
        model: The network as it is called in the loop: wrapped for data-parallel training where there is company.
        step: Updates done.
    """

    def __init__(self, net: nn.Module, config: TrainConfig, *, rate: Rate, wrap: Wrap) -> None:
        """Place the network on its device and build its optimiser.

        Args:
            net: The network.
            config: Optimiser settings.
            rate: Learning rate of each update.
            wrap: What makes a network ready for data-parallel training.
        """
        self.model = wrap(net.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.net = net
        self.ema = EMA(net, decay=config.ema_decay)
        self.step = 0
        self._config, self._rate = config, rate
        self._optimizer = OPTIMIZERS[config.optimizer](net.parameters(), lr=rate(0), betas=config.adam_betas)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return self._rate(self.step)

    def update(self, *losses: Loss) -> float:
        """One update.

        Args:
            losses: Model in, scalar loss out: one for each micro-batch, all of the same size.

        Returns:
            The gradient's global norm before clipping.

        Raises:
            TrainingError: The gradient is not finite; nothing was changed.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        for number, loss_of in enumerate(losses, start=1):
            with self._alone(number < len(losses)):
                (loss_of(self.model) / len(losses)).backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), self._config.gradient_clip))
        if not math.isfinite(norm):
            raise TrainingError(
                f"The gradient at step {self.step + 1} is {norm}; expected a finite norm. "
                "Lower train.learning_rate, or look for broken pairs with `rddm preprocess --dry-run`."
            )
        self._optimizer.step()
        self.step += 1
        if self.step % self._config.ema_every == 0:
            self.ema.update(self.net)
        return norm

    def _alone(self, alone: bool) -> AbstractContextManager[object]:
        """Workers average gradients once an update, with its last micro-batch."""
        if alone and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def averaged(self) -> nn.Module:
        """A copy of the network that holds the averaged weights, in evaluation mode."""
        return self.ema.module(self.net)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.step = int(state["step"])
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])


class LossKeeper:
    """Keeps the parts of an update's losses while their totals go on to the learner."""

    def __init__(self) -> None:
        """Start empty."""
        self.names: list[str] = []
        self._kept: list[Tensor] = []

    @property
    def kept(self) -> Tensor:
        """Total and parts, their means over the micro-batches."""
        return torch.stack(self._kept).mean(dim=0)

    def keep(self, total: Tensor, *others: Tensor) -> Tensor:
        """Remember a total and its parts; give the total."""
        self._kept.append(torch.stack([total.detach(), *(other.detach() for other in others)]))
        return total

    def keep_named(self, parts: LossParts) -> Tensor:
        """Remember a total and its parts, with their names; give the total."""
        self.names = ["loss", *(f"loss_{name}" for name in parts.per_output)]
        return self.keep(parts.total, *parts.per_output.values())


def scheduled_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of an update of the training: linear warm-up, then constant or cosine."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    if config.decay == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
