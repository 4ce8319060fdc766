"""A bundle as a diffusers scheduler, and as a whole pipeline where its network is diffusers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.conversions.ddim import TIME_SIGNAL, as_ddim_samples, settings_of
from jobs.conversions.publishing import refuse_existing, staged, write_json
from rddm.bundle import Bundle, load_bundle
from rddm.errors import ConversionError
from rddm.nets.diffusers_unet import DiffusersUNet2D, write_unet

_INDEX = {
    "_class_name": "DDIMPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def convert(source: Path, output: Path, *, ddim_sampling: bool, dry_run: bool) -> dict[str, Any]:
    """Write the folder, or only say what it would be.

    Args:
        source: A bundle.
        output: A new folder: `scheduler_config.json`, or `model_index.json` with `unet/` and `scheduler/`.
        ddim_sampling: Take DDIM's way of sampling in place of the bundle's.
        dry_run: Write nothing.

    Returns:
        What was read and written, in JSON values.

    Raises:
        ConversionError: The bundle has no DDIM counterpart, or the output exists.
        BundleError: It is no bundle.
    """
    refuse_existing(output)
    bundle = load_bundle(source)
    settings = settings_of(as_ddim_samples(bundle.config) if ddim_sampling else bundle.config)
    whole = isinstance(bundle.net, DiffusersUNet2D)
    signal = bundle.config.network.time_signal
    if whole and signal != TIME_SIGNAL:
        raise ConversionError(
            f"network.time_signal is {signal!r}; a pipeline tells its network the time step, {TIME_SIGNAL!r}"
        )
    if not dry_run:
        with staged(output) as staging:
            if isinstance(bundle.net, DiffusersUNet2D):
                _write_pipeline(bundle.net, settings.to_dict(), staging)
            else:
                write_json(staging / "scheduler_config.json", settings.to_dict())
    return {
        "output": str(output),
        "written": "pipeline" if whole else "scheduler_config.json",
        "prediction_type": settings.prediction_type,
        "timestep_spacing": settings.timestep_spacing,
        **_to_call_it_with(bundle),
    }


def _write_pipeline(net: DiffusersUNet2D, scheduler: dict[str, Any], folder: Path) -> None:
    version = write_unet(net, folder / "unet")
    write_json(folder / "scheduler" / "scheduler_config.json", {**scheduler, "_diffusers_version": version})
    write_json(folder / "model_index.json", {**_INDEX, "_diffusers_version": version})


def _to_call_it_with(bundle: Bundle) -> dict[str, Any]:
    """What a scheduler's config cannot say."""
    sampling = bundle.config.sampling
    return {
        "num_inference_steps": sampling.num_inference_steps,
        "eta": sampling.eta,
        "time_signal": bundle.config.network.time_signal,
    }
