"""Does a sampler of second order need fewer evaluations of a real network? Error against N, on a pretrained MNIST DDPM.

    python benchmarks/bench_sampling_order.py WEIGHTS.safetensors [--images 16] [--quick] [--json]

Every sampler starts from the same noise and solves the same path: RDDM's deterministic one with the schedule that
`rddm.ddim` converts, over evenly spaced times, unclipped, in float64. The error of an image is its root mean square
difference from what 1000 steps of Heun's method give, which are nearer to the path itself than 1000 of first order (how
far those are off is printed first); the table has the median over the images, and the range. Heun asks the network
twice a step, so that N evaluations are about half as many steps. `last step alone` walks the reference's own path and
takes only the sampler's last step, to the clean image, which is of first order in all of them. With `--json` the last
line is one object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from interleaved import machine
from mnist_unet import MnistUNet
from safetensors.torch import load_file
from torch import Tensor, nn

from rddm.config import ModelConfig, NetworkConfig, SamplingConfig, ScheduleConfig, build_restorer
from rddm.restorer import Restorer
from rddm.sampling import Callback

EVALUATIONS = (5, 10, 20, 40, 80)
SAMPLERS = ("deterministic", "adams_bashforth", "heun")
REFERENCE_STEPS = 1000
CONFIG = ModelConfig(
    task="generation",
    objective="pred_noise",
    network=NetworkConfig(time_signal="official_index"),
    schedule=ScheduleConfig(name="ddim"),
    sampling=SamplingConfig(clipping="none", time_grid="even", start_noise=1.0),
    image_channels=1,
)


def main() -> None:
    """Measure, print a table, and with `--json` one line for programs."""
    options = _options()
    torch.set_num_threads(options.threads)
    net = MnistUNet()
    net.load_state_dict(load_file(options.weights))
    counting = Counting(net.double().eval())
    start = torch.randn(
        options.images, 1, 28, 28, generator=torch.Generator().manual_seed(options.seed), dtype=torch.float64
    )
    print(machine())
    finest = 50 if options.quick else REFERENCE_STEPS
    path: dict[int, Tensor] = {}
    reference = draw(counting, "heun", finest, start, lambda done, steps, x: path.update({steps - done: x}))
    results = {f"deterministic_{finest}": _measured(counting, "deterministic", finest, start, reference)}
    for count in EVALUATIONS[:2] if options.quick else EVALUATIONS:
        for sampler in SAMPLERS:
            results[f"{sampler}_{count}"] = _measured(counting, sampler, count, start, reference)
            results[f"{sampler}_{count}"] |= _last_step(counting, sampler, count, path, reference)
    if options.json:
        print(json.dumps(results))


class Counting(nn.Module):
    """A network that counts how often it is asked.

    Args:
        net: The network.
    """

    def __init__(self, net: nn.Module) -> None:
        """Start at 0."""
        super().__init__()
        self.net = net
        self.asked = 0

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """What the network says."""
        self.asked += 1
        answer: Tensor = self.net(x, time)
        return answer


@torch.no_grad()
def draw(net: nn.Module, sampler: str, steps: int, start: Tensor, callback: Callback | None = None) -> Tensor:
    """Images in [-1, 1] and a little beyond."""
    restorer = restorer_for(net, sampler, steps)
    nothing = torch.zeros_like(start)
    return restorer.sampler(
        lambda x, t: restorer.predict(x, nothing, t),
        restorer.schedule,
        start,
        restorer.steps,
        noise=_no_noise,
        callback=callback,
    )


def restorer_for(net: nn.Module, sampler: str, steps: int) -> Restorer:
    """The network with a sampler and a number of steps."""
    config = replace(CONFIG, sampling=replace(CONFIG.sampling, sampler=sampler, num_inference_steps=steps))
    return build_restorer(config, config.objective, net)


def steps_for(sampler: str, evaluations: int) -> int:
    """Heun asks twice in every step but the last, which ends at the clean image."""
    return (evaluations + 1) // 2 if sampler == "heun" else evaluations


def _measured(net: Counting, sampler: str, evaluations: int, start: Tensor, reference: Tensor) -> dict[str, float]:
    net.asked = 0
    drawn = draw(net, sampler, steps_for(sampler, evaluations), start)
    errors = _rms(drawn - reference)
    median, low, high = statistics.median(errors), min(errors), max(errors)
    print(f"{evaluations:4d} evaluations  {sampler:16s} {net.asked:4d} asked  {median:.2e} ({low:.1e}..{high:.1e})")
    return {"asked": net.asked, "median_rms": median, "min_rms": low, "max_rms": high}


@torch.no_grad()
def _last_step(
    net: nn.Module, sampler: str, evaluations: int, path: dict[int, Tensor], reference: Tensor
) -> dict[str, float]:
    restorer = restorer_for(net, sampler, steps_for(sampler, evaluations))
    t = restorer.steps[-1][0]
    if t not in path:
        return {}  # a quick run's reference does not visit every time
    x = path[t]
    pred = restorer.predict(x, torch.zeros_like(x), torch.full((len(x),), t))
    median = statistics.median(_rms(pred.x_start - reference))
    print(f"{'':18s}last step alone, from t = {t}: {median:.2e}")
    return {"last_step_t": t, "last_step_median_rms": median}


def _rms(difference: Tensor) -> list[float]:
    """Of each image."""
    errors: list[float] = difference.square().mean(dim=(1, 2, 3)).sqrt().tolist()
    return errors


def _no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic path draws no noise")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="ddpm_mnist.safetensors")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="only show that the script works")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
