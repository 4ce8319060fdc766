"""A checkpoint of the official code as a bundle: tensors are read, nothing that a file says is run.

The official trainers save a dictionary: `model` is the state dict of the diffusion, in which the network's names carry
a prefix such as `model.` or `model.unet0.` and the coefficients stand beside them; `ema` holds the same twice, below
`ema_model.` and `online_model.`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jobs.conversions.publishing import refuse_existing
from rddm.bundle import save_bundle
from rddm.config import AUTO, ModelConfig, NetworkConfig, ScheduleConfig, build_network, build_restorer, build_schedule
from rddm.errors import ConfigError, ConversionError
from rddm.objectives import OBJECTIVES

Weights = Literal["ema", "raw"]

TOLERANCE = 1e-5
"""Coefficients of a checkpoint are float32 sums of 1000 numbers; ours agree with them to less than this."""

_NETWORK, _SIGNAL = "official_unet", "official_index"
_FIRST, _ALPHAS, _BETAS2 = "init_conv.weight", "alphas_cumsum", "betas2_cumsum"
_SECTIONS = {"ema": ("ema", "ema_model."), "raw": ("model", "")}
_INPUTS = {1: ("x_t",), 2: ("x_t", "x_input"), 3: ("x_t", "x_input", "mask")}
_TASKS = {1: "generation", 2: "restoration", 3: "masked_restoration"}
_CURVES = (("decreasing", "increasing"), ("decreasing_zero_based", "increasing_zero_based"), ("uniform", "uniform"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """What the shapes of a network's weights say.

    Attributes:
        in_channels: Channels of the input.
        out_channels: Channels of all outputs together.
        channels: Width at full resolution.
        multipliers: Width at each level, in units of `channels`.
        arrangement: A name in `rddm.nets.ARRANGEMENTS`.
    """

    in_channels: int
    out_channels: int
    channels: int
    multipliers: tuple[int, ...]
    arrangement: str

    @property
    def options(self) -> dict[str, Any]:
        """Options of `official_unet`; official checkpoints were trained with the attention that depends on the area."""
        return {
            "channels": self.channels,
            "multipliers": list(self.multipliers),
            "arrangement": self.arrangement,
            "attention_scale": "area",
        }


def convert(
    file: Path, output: Path, *, like: ModelConfig | None, objective: str | None, weights: Weights, dry_run: bool
) -> dict[str, Any]:
    """Write the bundle, or only say what it would be.

    Args:
        file: The checkpoint.
        output: The bundle, a new folder.
        like: What weights cannot say: objective, task, how the time is told, how it samples; its schedule is checked
            against the checkpoint's.
        objective: A name in `OBJECTIVES`; needed where neither `like` nor the number of outputs settles it.
        weights: The averaged weights or the raw ones.
        dry_run: Write nothing.

    Returns:
        What was read and written, in JSON values.

    Raises:
        ConversionError: The file is damaged, no official checkpoint or more than tensors, or the output exists.
        ConfigError: The objective is missing, or does not fit the network.
    """
    refuse_existing(output)
    state = diffusion_state(read_tensors(file), weights, file)
    prefix = network_prefix(state, file)
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    found = architecture(own)
    config = _model(like, found, _chosen_objective(objective, like, found))
    config = _with_schedule(config, _schedule(state, prefix, like), told=like is not None)
    net = _loaded(config, own, file)
    build_restorer(config, config.objective, net)
    if not dry_run:
        card = {"converted_from": "official", "source": file.name, "weights": weights}
        save_bundle(output, config=config, net=net, card=card)
    return {
        "bundle": str(output),
        "weights": weights,
        "prefix": prefix,
        "objective": config.objective,
        "task": config.task,
        "arrangement": found.arrangement,
        "channels": found.channels,
        "multipliers": "x".join(map(str, found.multipliers)),
        "num_train_timesteps": config.schedule.num_train_timesteps,
        "terminal_noise_variance": config.schedule.terminal_noise_variance,
        "time_signal": config.network.time_signal,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def read_tensors(file: Path) -> Mapping[str, Any]:
    """A checkpoint's dictionary, by a reader that builds tensors and plain values and refuses all else.

    Raises:
        ConversionError: It cannot be read so.
    """
    if not file.is_file():
        raise ConversionError(f"no checkpoint at {file}; expected a file that the official trainer saved")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  # damaged bytes raise whatever they provoke
        raise ConversionError(
            f"{file} is damaged or holds more than tensors, and nothing of it was run: "
            f"{' '.join(str(error).split())[:200] or type(error).__name__}"
        ) from None
    if not isinstance(values, Mapping):
        raise ConversionError(f"{file} holds a {type(values).__name__}; expected a dictionary")
    return values


def diffusion_state(values: Mapping[str, Any], weights: Weights, file: Path) -> dict[str, Tensor]:
    """The diffusion's state dict: the averaged one or the raw one; a bare state dict counts as raw.

    Raises:
        ConversionError: There is no such part.
    """
    section, prefix = _SECTIONS[weights]
    part = values.get(section)
    if part is None and weights == "raw" and any(isinstance(value, Tensor) for value in values.values()):
        part = values
    if not isinstance(part, Mapping):
        raise ConversionError(f"{file} has no {section!r}; found {', '.join(map(str, values))[:200] or 'nothing'}")
    state = {
        name.removeprefix(prefix): value
        for name, value in part.items()
        if isinstance(name, str) and isinstance(value, Tensor) and name.startswith(prefix)
    }
    if not state:
        raise ConversionError(f"{file}: {section!r} holds no tensors below {prefix or 'its top'!r}")
    return state


def network_prefix(state: Mapping[str, Tensor], file: Path) -> str:
    """What all of the network's names begin with: the longest prefix that the stems of its parts share.

    Raises:
        ConversionError: No network is found, or several that are not the two of one model.
    """
    stems = sorted(name.removesuffix(_FIRST) for name in state if name.endswith(_FIRST))
    roots = {stem.removesuffix("unet0.").removesuffix("unet1.") for stem in stems}
    if len(roots) != 1:
        raise ConversionError(
            f"{file} has {len(roots)} official networks ({', '.join(sorted(roots)) or 'none'}); expected one, whose "
            f"names end with {_FIRST}"
        )
    return roots.pop()


def architecture(state: Mapping[str, Tensor]) -> Architecture:
    """What the shapes say, given the network's own names.

    Raises:
        ConversionError: A part that every official network has is missing.
    """
    nested = "unet0." if f"unet0.{_FIRST}" in state else ""
    stem = _weight(state, f"{nested}{_FIRST}")
    channels = stem.shape[0]
    multipliers: list[int] = []
    while (smaller := state.get(f"{nested}downs.{len(multipliers)}.3.weight")) is not None:
        multipliers.append(smaller.shape[0] // channels)
    heads = [_weight(state, name) for name in sorted(state) if "final_conv" in name and name.endswith("weight")]
    return Architecture(
        in_channels=stem.shape[1],
        out_channels=sum(head.shape[0] for head in heads),
        channels=channels,
        multipliers=tuple(multipliers),
        arrangement=_arrangement(state, nested),
    )


def _arrangement(state: Mapping[str, Tensor], nested: str) -> str:
    if nested:
        return "two" if f"unet1.{_FIRST}" in state else "wrapped"
    return "shared_encoder" if "final_conv_1.weight" in state else "one"


def _weight(state: Mapping[str, Tensor], name: str) -> Tensor:
    weight = state.get(name)
    if weight is None or weight.ndim != 4:
        raise ConversionError(f"the checkpoint has no {name} of a convolution; expected the official network's weights")
    return weight


def _chosen_objective(objective: str | None, like: ModelConfig | None, found: Architecture) -> str:
    """What the outputs mean: as it is said, or as the preset or config has it.

    Raises:
        ConfigError: Nobody said it, or it has another number of outputs.
    """
    chosen = objective or (like.objective if like else AUTO)
    channels = like.image_channels if like else 3
    outputs = found.out_channels // channels
    fitting = [name for name, entry in OBJECTIVES.items() if len(entry.output_names) == outputs]
    if chosen == AUTO:
        raise ConfigError(
            f"the checkpoint's network has {outputs} output{'s' * (outputs > 1)}, and weights do not say of what; give "
            f"--objective, --preset or --config: {', '.join(fitting) or 'none fits'}"
        )
    names = OBJECTIVES[chosen].output_names
    if chosen not in fitting:
        raise ConfigError(
            f"objective {chosen!r} has {len(names)} outputs and the checkpoint's network "
            f"{outputs}; expected one of {', '.join(fitting) or 'none'}"
        )
    return chosen


def _model(like: ModelConfig | None, found: Architecture, objective: str) -> ModelConfig:
    """The config that the weights fit: theirs is the network, all else is said or the default.

    Raises:
        ConversionError: The network sees another number of images than the preset or config says.
    """
    images = found.in_channels // (like.image_channels if like else 3)
    if images not in _INPUTS:
        raise ConversionError(f"the network has {found.in_channels} channels of input; expected 3, 6 or 9")
    base = like or ModelConfig(task=_TASKS[images], network=NetworkConfig(name=_NETWORK, time_signal=_SIGNAL))
    inputs = base.inputs or _INPUTS[images]
    if len(inputs) != images or len(base.network_inputs) != images:
        raise ConversionError(
            f"the network sees {images} images and the config says {', '.join(base.network_inputs)}; expected "
            f"{', '.join(_INPUTS[images])}"
        )
    signal = base.network.time_signal if base.network.name == _NETWORK else _SIGNAL
    network = NetworkConfig(name=_NETWORK, options=found.options, time_signal=signal)
    return replace(base, objective=objective, network=network)


def _with_schedule(config: ModelConfig, schedule: ScheduleConfig, *, told: bool) -> ModelConfig:
    """With the checkpoint's coefficients; those of the generation code come with its way to tell the time."""
    config = replace(config, schedule=schedule)
    if told or schedule.alphas != "decreasing_zero_based":
        return config
    return replace(config, network=replace(config.network, time_signal="official_alphas"))


def _schedule(state: Mapping[str, Tensor], prefix: str, like: ModelConfig | None) -> ScheduleConfig:
    """The coefficients that stand beside the network, by the names of our schedules.

    Raises:
        ConversionError: They are missing, or no schedule of ours gives them; the message names time and numbers.
    """
    alphas, betas2 = (_table(state, prefix, name) for name in (_ALPHAS, _BETAS2))
    base = [like.schedule] if like else [_curves(*names, betas2[-1].item()) for names in _CURVES]
    candidates = [replace(schedule, num_train_timesteps=len(alphas)) for schedule in base]
    misses = [_miss(candidate, alphas, betas2) for candidate in candidates]
    best = min(range(len(misses)), key=lambda index: misses[index][0])
    distance, where = misses[best]
    if not distance <= TOLERANCE:
        raise ConversionError(
            f"no schedule fits the checkpoint's coefficients to {TOLERANCE:g}: {where}. Give the --preset or --config "
            "that it was trained with"
        )
    return candidates[best]


def _curves(alphas: str, betas2: str, variance: float) -> ScheduleConfig:
    # A variance such as 0.01 was rounded to float32: the short number that rounds to it is the one that was meant.
    return ScheduleConfig(alphas=alphas, betas2=betas2, terminal_noise_variance=float(f"{variance:.6g}"))


def _miss(candidate: ScheduleConfig, alphas: Tensor, betas2: Tensor) -> tuple[float, str]:
    """The largest difference, and where it is."""
    try:
        ours = build_schedule(ModelConfig(schedule=candidate))
    except ConfigError as error:
        return float("inf"), str(error)
    distances = torch.stack([ours.alphas_cumsum[1:] - alphas, ours.betas2_cumsum[1:] - betas2]).abs()
    row, index = divmod(int(distances.nan_to_num(torch.inf).argmax()), len(alphas))
    name, table, theirs = ((_ALPHAS, ours.alphas_cumsum, alphas), (_BETAS2, ours.betas2_cumsum, betas2))[row]
    where = f"at t = {index + 1} {name} is {theirs[index].item():.6g}, and {table[index + 1].item():.6g} in ours"
    return float(distances.nan_to_num(torch.inf).max()), f"{where} ({_described(candidate)})"


def _described(schedule: ScheduleConfig) -> str:
    if schedule.name != "curves":
        return schedule.name
    return f"{schedule.alphas} and {schedule.betas2}, terminal noise variance {schedule.terminal_noise_variance:g}"


def _table(state: Mapping[str, Tensor], prefix: str, name: str) -> Tensor:
    """A table of the diffusion, which stands at the network's level or above it."""
    at = [key for key in state if key.endswith(name) and prefix.startswith(key.removesuffix(name))]
    if not at or state[at[0]].ndim != 1 or len(state[at[0]]) < 1:
        raise ConversionError(
            f"the checkpoint has no table {name} beside its network; expected the diffusion's buffers"
        )
    return state[max(at, key=len)].to(torch.float64)


def _loaded(config: ModelConfig, state: Mapping[str, Tensor], file: Path) -> nn.Module:
    """The network with the checkpoint's weights, all of them and no others.

    Raises:
        ConversionError: They do not fit, or are not finite.
    """
    net = build_network(config, config.objective)
    own = {name: tensor for name, tensor in state.items() if "." in name}  # buffers of the diffusion have no dot
    try:
        net.load_state_dict(own)
    except RuntimeError as error:
        raise ConversionError(f"{file}: weights do not fit: {' '.join(str(error).split())[:300]}") from None
    broken = [name for name, tensor in own.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ConversionError(f"{file} is damaged: {broken[0]} holds numbers that are not finite")
    return net.eval()
