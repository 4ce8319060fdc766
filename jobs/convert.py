"""`rddm convert`: models of other projects in, ours out. What a command needs is imported when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.terminal import Terminal, emit_json

if TYPE_CHECKING:
    from rddm.config import ModelConfig

app = typer.Typer(no_args_is_help=True, help="Turn models of other projects into bundles, and bundles into theirs.")

Output = Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new path; nothing is overwritten.")]
Source = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, say what would be written, and write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class Weights(StrEnum):
    """Which of a checkpoint's weights are taken."""

    ema = "ema"
    raw = "raw"


@app.command("diffusers")
def from_diffusers(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A DDPM or DDIM pipeline that diffusers saved.")],
    output: Output,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of sampling; 50 by default.")] = None,
    eta: Annotated[float, typer.Option("--eta", min=0, max=1, help="Of DDIM: share of fresh noise.")] = 0.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Turn a diffusers pipeline into a bundle that samples as its DDIM scheduler does."""
    convert = _conversion("from_diffusers")
    _show(convert(folder, output, steps=steps, eta=eta, dry_run=dry_run), dry_run=dry_run, json=json)


@app.command("to-diffusers")
def to_diffusers(
    source: Source,
    output: Output,
    ddim_sampling: Annotated[
        bool, typer.Option("--ddim-sampling", help="Take DDIM's way of sampling in place of the bundle's own.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a bundle's DDIM scheduler, and the whole pipeline where the network is diffusers' own."""
    convert = _conversion("to_diffusers")
    _show(convert(source, output, ddim_sampling=ddim_sampling, dry_run=dry_run), dry_run=dry_run, json=json)


@app.command("official")
def official(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pt file that the official trainer saved.")],
    output: Output,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="The paper's setting that it was trained with.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A run whose `model` says what weights cannot.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option("--objective", metavar="NAME", help="What the outputs are, if nothing else says it.")
    ] = None,
    weights: Annotated[Weights, typer.Option("--weights", help="Averaged or raw weights.")] = Weights.ema,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Turn a checkpoint of the official code into a bundle; nothing that the file says is run."""
    convert = _conversion("official")
    like = _like(preset, config)
    report = convert(file, output, like=like, objective=objective, weights=weights.value, dry_run=dry_run)
    _show(report, dry_run=dry_run, json=json)


@app.command("onnx")
def onnx(source: Source, output: Output, dry_run: DryRun = False, json: Json = False) -> None:
    """Write a bundle's network, one step of the denoiser, as ONNX for any batch, height and width."""
    _show(_conversion("to_onnx")(source, output, dry_run=dry_run), dry_run=dry_run, json=json)


def _conversion(name: str) -> Any:
    return importlib.import_module(f"jobs.conversions.{name}").convert


def _like(preset: str | None, config: Path | None) -> ModelConfig | None:
    """The model of a preset or of a run's config."""
    if preset is not None and config is not None:
        raise typer.BadParameter("give --preset or --config, not both")
    if preset is not None:
        from rddm.presets import PRESETS

        return PRESETS[preset].model
    if config is not None:
        from jobs import config_file

        return config_file.load(config, []).model
    return None


def _show(report: Mapping[str, Any], *, dry_run: bool, json: bool) -> None:
    if json:
        emit_json(report)
    else:
        title = "convert" + (" (dry run)" if dry_run else "")
        Terminal().table(title, {name: str(value) for name, value in report.items()})
