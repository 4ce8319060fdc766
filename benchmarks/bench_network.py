"""The official architecture at full size, ours against its equations as they read: a sampling step, a training step.

    python benchmarks/bench_network.py [--quick] [--json] [--other PATH]

Both sides have the same weights, run in turn in one process, and are reported as medians with their range. The plain
side (`plain_unet.py`) is eager PyTorch: contiguous images, filters standardised on every call, every equation an
operation. Ours samples with `for_inference(net)` and trains channels last in memory with the fused Adam. `--other` adds
the network of another checkout of this project. `--quick` only shows that the script works. With `--json` the last line
is one object.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from checkouts import other_checkout
from interleaved import interleave, machine, report
from plain_unet import plain_form
from torch import Tensor, nn

from rddm.nets import NETWORKS, for_inference

FORWARD_SIZES = (64, 128, 256)
TRAINING_SIZE = 128
FULL = {"channels": 64, "multipliers": (1, 2, 4, 8)}
QUICK = {"channels": 8, "multipliers": (1, 2)}
REPEATS = {64: 25, 128: 15, 256: 9}


def main() -> None:
    """Measure, print a table, and with `--json` one line for programs."""
    options = _options()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    net = NETWORKS["official_unet"](6, 3, **_size(options))
    print(machine())
    results = {**forward(net, options), **training(net, options)}
    if options.json:
        print(json.dumps(results))


def forward(net: nn.Module, options: argparse.Namespace) -> dict[str, float]:
    """One sampling step at each size: speed-ups over the plain form, and the largest difference of the outputs."""
    sides = {"plain": plain_form(net).eval(), "ours": for_inference(net)}
    if options.other:
        sides["other"] = _network_of(options.other, net, _size(options))
    results, differences = {}, []
    for size in FORWARD_SIZES:
        x, time = _inputs(size, options)
        with torch.inference_mode():
            differences.append((sides["ours"](x, time) - sides["plain"](x, time)).abs().max().item())
            calls = {name: _call(side, x, time) for name, side in sides.items()}
            timings = interleave(calls, repeats=_repeats(size, options))
        results[f"speedup_{size}"] = report(f"forward {size} px", timings)
    results["max_abs_diff"] = max(differences)
    print(f"largest difference of the outputs: {results['max_abs_diff']:.1e}")
    return results


def training(net: nn.Module, options: argparse.Namespace) -> dict[str, float]:
    """One training step: forward, backward, clipping, Adam; also ours with the plain side's Adam."""
    x, time = _inputs(TRAINING_SIZE, options)
    steps = {
        "plain": _training_step(plain_form(net), x, time, fused=False),
        "ours": _training_step(_channels_last(net), x, time, fused=True),
        "ours, same Adam": _training_step(_channels_last(net), x, time, fused=False),
    }
    timings = interleave(steps, repeats=_repeats(TRAINING_SIZE, options), warmup=2)
    return {f"train_step_speedup_{TRAINING_SIZE}": report(f"training {TRAINING_SIZE} px", timings)}


def _call(net: nn.Module, x: Tensor, time: Tensor) -> Callable[[], object]:
    return lambda: net(x, time)


def _channels_last(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).to(memory_format=torch.channels_last)


def _training_step(net: nn.Module, x: Tensor, time: Tensor, *, fused: bool) -> Callable[[], object]:
    """The step of the paper's restoration settings: L1 loss, global gradient clip 1, Adam."""
    optimizer = torch.optim.Adam(net.parameters(), lr=8e-5, betas=(0.9, 0.99), fused=fused)
    target = torch.zeros(1)

    def step() -> None:
        optimizer.zero_grad()
        (net(x, time) - target).abs().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return step


def _network_of(checkout: Path, net: nn.Module, size: dict[str, Any]) -> nn.Module:
    """The same network, as another checkout builds it and makes it ready."""
    with other_checkout(checkout) as load:
        nets = load("rddm.nets")
        other = nets.NETWORKS["official_unet"](6, 3, **size)
        other.load_state_dict(net.state_dict())
        ready: nn.Module = nets.for_inference(other)
        return ready


def _size(options: argparse.Namespace) -> dict[str, Any]:
    return QUICK if options.quick else FULL


def _inputs(size: int, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    side = size // 8 if options.quick else size
    return torch.randn(1, 6, side, side), torch.tensor([500.0])


def _repeats(size: int, options: argparse.Namespace) -> int:
    return 2 if options.quick else REPEATS[size]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny network and few repeats: only shows that it works")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--other", type=Path, help="another checkout, whose network is measured too")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
