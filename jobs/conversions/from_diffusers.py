"""A diffusers pipeline folder as a bundle that samples identically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.conversions.ddim import DDIMSettings, model_config, read_settings
from jobs.conversions.publishing import read_json, refuse_existing
from rddm.bundle import save_bundle
from rddm.config import NetworkConfig, build_restorer
from rddm.errors import ConversionError
from rddm.nets.diffusers_unet import read_unet

DEFAULT_STEPS = 50
"""As diffusers' `DDIMPipeline`."""

_PARTS = {"unet": ("unet", "config.json"), "scheduler": ("scheduler", "scheduler_config.json")}
_NETWORK = "UNet2DModel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """What a folder holds.

    Attributes:
        unet: Folder of the network.
        unet_config: Its config.
        settings: The scheduler's.
    """

    unet: Path
    unet_config: Mapping[str, Any]
    settings: DDIMSettings


def read_pipeline(folder: Path) -> Pipeline:
    """Find network and scheduler in a folder, and read their configs.

    Args:
        folder: With `unet/` and `scheduler/`, or with `config.json` and `scheduler_config.json`.

    Raises:
        ConversionError: One is missing, or cannot be served.
    """
    if (folder / "model_index.json").is_file():
        _check_index(folder / "model_index.json")
    unet, scheduler = (_find(folder, part, name) for part, name in _PARTS.values())
    unet_config = read_json(unet)
    _check_network(unet, unet_config)
    return Pipeline(unet=unet.parent, unet_config=unet_config, settings=read_settings(read_json(scheduler)))


def convert(folder: Path, output: Path, *, steps: int | None, eta: float, dry_run: bool) -> dict[str, Any]:
    """Write the bundle, or only say what it would be.

    Args:
        folder: A pipeline's.
        output: The bundle, a new folder.
        steps: Steps of sampling; `DEFAULT_STEPS`, or T where that is fewer, unless given.
        eta: Of DDIM, in [0, 1].
        dry_run: Write nothing.

    Returns:
        What was read and written, in JSON values.

    Raises:
        ConversionError: There is nothing that can be converted, or the output exists.
        ConfigError: diffusers is not installed, or the settings cannot be served.
    """
    refuse_existing(output)
    pipeline = read_pipeline(folder)
    net, options = read_unet(pipeline.unet)
    channels = int(pipeline.unet_config["in_channels"])
    config = model_config(
        pipeline.settings,
        NetworkConfig(name="diffusers_unet2d", options=options),
        image_channels=channels,
        num_inference_steps=steps or min(DEFAULT_STEPS, pipeline.settings.num_train_timesteps),
        eta=eta,
    )
    build_restorer(config, config.objective, net)
    size = pipeline.unet_config.get("sample_size")
    card = {
        "converted_from": "diffusers",
        "source": folder.name,
        "diffusers_version": pipeline.unet_config.get("_diffusers_version"),
        "sample_size": size,
    }
    if not dry_run:
        save_bundle(output, config=config, net=net, card=card)
    return {
        "bundle": str(output),
        "objective": config.objective,
        "num_train_timesteps": config.schedule.num_train_timesteps,
        "num_inference_steps": config.sampling.num_inference_steps,
        "clipping": config.sampling.clipping,
        "time_grid": config.sampling.time_grid,
        "image": f"{channels} x {size}" if size else f"{channels} channels",
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def _check_index(index: Path) -> None:
    """A pipeline of a network and a scheduler alone; a latent one has an autoencoder, a guided one a text encoder."""
    parts = [name for name, value in read_json(index).items() if isinstance(value, list) and any(value)]
    others = sorted(set(parts) - set(_PARTS))
    if others:
        raise ConversionError(
            f"{index} lists {', '.join(others)}; expected a pipeline of unet and scheduler alone, one that draws pixels"
        )


def _find(folder: Path, part: str, name: str) -> Path:
    for path in (folder / part / name, folder / name):
        if path.is_file():
            return path
    raise ConversionError(f"{folder} has neither {part}/{name} nor {name}; expected a diffusers pipeline's folder")


def _check_network(path: Path, config: Mapping[str, Any]) -> None:
    if config.get("_class_name", _NETWORK) != _NETWORK:
        raise ConversionError(f"{path} is a {config['_class_name']}'s; expected a {_NETWORK}'s")
    inner, outer = config.get("in_channels"), config.get("out_channels")
    if not isinstance(inner, int) or inner != outer:
        raise ConversionError(
            f"{path}: in_channels is {inner} and out_channels {outer}; expected equally many: a network that also "
            "predicts a variance, or sees more than the noisy image, is not DDIM's"
        )
