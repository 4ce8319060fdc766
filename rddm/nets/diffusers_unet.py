"""A network of diffusers' as one of ours: the only file that knows that library, and only when one is built.

diffusers is an extra (`pip install 'rddm[diffusers]'`); everything else here does without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rddm.errors import ConfigError, ConversionError
from rddm.nets.base import NETWORKS, Inputs, Network, Outputs, Time

_GROUPS = 8
_NO_OPTIONS = ("in_channels", "out_channels")
"""Parts of a `UNet2DModel`'s config that our model config says elsewhere."""


@NETWORKS.register("diffusers_unet2d")
class DiffusersUNet2D(Network):
    """A `UNet2DModel`, which is told diffusers' time step: the index t - 1 (time signal `official_index`).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Width at full resolution of a small network with two levels, where the options name no widths.
        options: `UNet2DModel`'s own, by its names.

    Raises:
        ConfigError: diffusers is not installed.
        ValueError: The network wants classes beside the image, or embeds another time than the time step.
    """

    starts_at_zero = False

    def __init__(self, in_channels: int, out_channels: int, *, channels: int = 32, **options: Any) -> None:
        """Build diffusers' network."""
        super().__init__()
        if options.get("class_embed_type") is not None or options.get("num_class_embeds") is not None:
            raise ValueError("the network is told a class beside the image; expected one without class_embed_type")
        if options.get("time_embedding_type", "positional") != "positional":
            raise ValueError(f"time_embedding_type is {options['time_embedding_type']!r}; expected 'positional'")
        chosen = options if "block_out_channels" in options else {**_small(channels), **options}
        self.model = _diffusers().UNet2DModel(in_channels=in_channels, out_channels=out_channels, **chosen)
        self.size_multiple = 2 ** (len(self.model.config.block_out_channels) - 1)

    def forward(self, x: Inputs, time: Time) -> Outputs:
        """Outputs for every image; `time` is diffusers' time step, one for each image."""
        outputs: Outputs = self.model(x, time, return_dict=False)[0]
        return outputs


def read_unet(folder: Path) -> tuple[DiffusersUNet2D, dict[str, Any]]:
    """A saved `UNet2DModel` as one of ours, in float32, and the options that it was built with.

    Args:
        folder: Its `config.json` and weights; safetensors, or a `.bin` that holds tensors and nothing else.

    Raises:
        ConfigError: diffusers is not installed.
        ConversionError: The folder holds no such network, or its weights do not fit its config.
    """
    library = _diffusers()
    try:
        saved, told = library.UNet2DModel.from_pretrained(
            str(folder), local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
        options = _options(saved.config)
        net = DiffusersUNet2D(saved.config.in_channels, saved.config.out_channels, **options)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ConversionError(f"{folder} is no UNet2DModel: {' '.join(str(error).split())[:300]}") from None
    if told["missing_keys"] or told["unexpected_keys"] or told["mismatched_keys"]:
        raise ConversionError(
            f"{folder}: config and weights do not fit: missing {sorted(told['missing_keys'])[:3]}, not expected "
            f"{sorted(told['unexpected_keys'])[:3]}, of another shape {sorted(map(str, told['mismatched_keys']))[:3]}"
        )
    net.model.load_state_dict(saved.state_dict())  # copied into float32, whatever they were saved in
    return net.eval(), options


def write_unet(net: DiffusersUNet2D, folder: Path) -> str:
    """Save the network as diffusers does, with safetensors; returns diffusers' version."""
    net.model.save_pretrained(str(folder), safe_serialization=True)
    return str(_diffusers().__version__)


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's options in JSON values; what diffusers notes beside them begins with an underscore."""
    kept = {name: value for name, value in config.items() if not name.startswith("_") and name not in _NO_OPTIONS}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def _small(channels: int) -> dict[str, Any]:
    return {
        "block_out_channels": (channels, 2 * channels),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": _GROUPS,
    }


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError:
        raise ConfigError(
            "network 'diffusers_unet2d' needs diffusers, which is not installed; run: pip install 'rddm[diffusers]'"
        ) from None
    return diffusers
