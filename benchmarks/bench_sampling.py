"""Restoring a picture in five steps with the official architecture, ours against the plain form of network and sampler.

    python benchmarks/bench_sampling.py [--quick] [--json] [--other PATH] [--steps N]

Both sides have the same weights, start from the same noise, run in turn in one process, and are reported as medians
with their range. The plain side samples as section 3 of the paper reads, over a network in its plain form
(`plain_unet.py`); ours is what a bundle gives: `Restorer.restore` over `for_inference(net)`. The training step is that
of `bench_network.py` with our loss and averaged weights around it. With `--json` the last line is one object.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from bench_network import FULL, QUICK
from checkouts import other_checkout
from interleaved import interleave, machine, report
from plain_unet import plain_form
from torch import Tensor, nn

from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, build_network, build_restorer, build_schedule
from rddm.ema import EMA
from rddm.keyed import keyed_generator
from rddm.losses import LOSSES
from rddm.nets import for_inference
from rddm.objectives import OBJECTIVES
from rddm.restorer import Restorer
from rddm.schedules import Schedule
from rddm.training import training_loss
from rddm.view import View

SIZES = (64, 128, 256)
TRAINING_SIZE = 128
REPEATS = {64: 11, 128: 7, 256: 3}
OBJECTIVE = "pred_res"


def main() -> None:
    """Measure, print a table, and with `--json` one line for programs."""
    options = _options()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    config = ModelConfig(
        objective=OBJECTIVE,
        network=NetworkConfig(
            name="official_unet", options=QUICK if options.quick else FULL, time_signal="official_index"
        ),
        sampling=SamplingConfig(num_inference_steps=options.steps),
    )
    net = build_network(config, OBJECTIVE).eval()
    print(f"{machine()}; {options.steps} steps, batch 1")
    results = {**sampling(config, net, options), **training(config, net, options)}
    if options.json:
        print(json.dumps(results))


def sampling(config: ModelConfig, net: nn.Module, options: argparse.Namespace) -> dict[str, float]:
    """A whole restoration at each size: speed-ups over the plain form, and the largest difference of the pictures."""
    ours = build_restorer(config, OBJECTIVE, for_inference(net))
    sides: dict[str, Callable[[Tensor], Tensor]] = {
        "plain": PlainRestorer(plain_form(net).eval(), ours.schedule, [t for t, _ in ours.steps]),
        "ours": lambda x: ours.restore(x, seeds=[0]),
    }
    if options.other:
        sides["other"] = _restored_by(options.other, config, net)
    results, differences = {}, []
    for size in SIZES:
        x = torch.rand(1, 3, *[size // 4 if options.quick else size] * 2)
        with torch.inference_mode():
            differences.append((sides["ours"](x) - sides["plain"](x)).abs().max().item())
            calls = {name: _call(side, x) for name, side in sides.items()}
            timings = interleave(calls, repeats=2 if options.quick else REPEATS[size])
        results[f"speedup_{size}"] = report(f"restore {size} px", timings)
    results["max_abs_diff"] = max(differences)
    print(f"largest difference of the pictures, in [0, 1]: {results['max_abs_diff']:.1e}")
    return results


class PlainRestorer:
    """Section 3 of the paper, line by line, for one picture and the objective that predicts the residual."""

    def __init__(self, net: nn.Module, schedule: Schedule, times: list[int]) -> None:
        """Keep the parts."""
        self.net, self.schedule, self.times = net, schedule, times

    def __call__(self, picture: Tensor) -> Tensor:
        """Restore a picture in [0, 1]."""
        alphas, betas = self.schedule.alphas_cumsum.float(), self.schedule.sqrt_betas2_cumsum.float()
        x_input = picture * 2 - 1
        noise = torch.randn(picture.shape[1:], generator=torch.Generator().manual_seed(0))[None]
        x = x_input + betas[-1] * noise
        for t, s in zip(self.times, [*self.times[1:], 0], strict=True):
            res = self.net(torch.cat([x, x_input], dim=1), torch.full((1,), float(t - 1)))
            x_start = (x_input - res).clamp(-1, 1)
            res = x_input - x_start
            epsilon = (x - x_input - (alphas[t] - 1) * res) / betas[t]
            x = x - (alphas[t] - alphas[s]) * res - (betas[t] - betas[s]) * epsilon
            if s == 0:
                x = x_start
        return ((x + 1) / 2).clamp(0, 1)


def training(config: ModelConfig, net: nn.Module, options: argparse.Namespace) -> dict[str, float]:
    """One update: loss, backward, clipping, optimiser, averaged weights."""
    size = TRAINING_SIZE // 4 if options.quick else TRAINING_SIZE
    steps = {
        "plain": _update(plain_form(net).train(), config, size, fused=False),
        "ours": _update(
            copy.deepcopy(net).train().to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            config,
            size,
            fused=True,
        ),
    }
    timings = interleave(steps, repeats=2 if options.quick else REPEATS[TRAINING_SIZE], warmup=2)
    return {f"train_step_speedup_{TRAINING_SIZE}": report(f"update {TRAINING_SIZE} px", timings)}


def _update(net: nn.Module, config: ModelConfig, size: int, *, fused: bool) -> Callable[[], object]:
    schedule, objective, loss = build_schedule(config), OBJECTIVES[OBJECTIVE](), LOSSES["l1"]
    optimizer = torch.optim.Adam(net.parameters(), lr=8e-5, betas=(0.9, 0.99), fused=fused)
    generator = keyed_generator("bench", size)
    x_start, x_input, noise = (torch.randn(1, 3, size, size, generator=generator) for _ in range(3))
    view, ema, t = View(), EMA(net, decay=0.995), torch.tensor([500])

    def step() -> None:
        optimizer.zero_grad()
        training_loss(net, schedule, objective, loss, x_start, x_input, t, noise, view=view).total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        ema.update(net)

    return step


def _restored_by(checkout: Path, config: ModelConfig, net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same restoration, as another checkout does it."""
    with other_checkout(checkout) as load:
        theirs = load("rddm.config")
        settings = theirs.ModelConfig.from_dict(config.to_dict())
        other = theirs.build_network(settings, OBJECTIVE)
        other.load_state_dict(net.state_dict())
        restorer: Restorer = theirs.build_restorer(settings, OBJECTIVE, load("rddm.nets").for_inference(other))
    return lambda x: restorer.restore(x, seeds=[0])


def _call(side: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    return lambda: side(x)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny network and few repeats: only shows that it works")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--other", type=Path, help="another checkout, which is measured too")
    parser.add_argument("--steps", type=int, default=5, help="of a restoration (5)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
