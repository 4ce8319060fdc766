"""A bundle's network as ONNX: one step of the denoiser, for any batch, height and width."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jobs.conversions.publishing import refuse_existing, staged
from rddm.bundle import Bundle, load_bundle
from rddm.config import build_view
from rddm.errors import ConfigError, ConversionError
from rddm.nets import for_inference
from rddm.nets.base import Network

TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime, relative to the largest output or to 1."""

_INPUTS, _OUTPUTS = ("x", "time"), ("outputs",)
_TRACED = (2, 4, 6)
_CHECKED = ((1, 4, 4), (3, 6, 5))
"""Batch, and height and width in the network's multiples: as it was traced, and as it is checked."""
_SIDE_MAX, _BATCH_MAX = 4096, 1024
_QUIET = ("torch.onnx", "onnxscript", "onnx_ir")


def convert(source: Path, output: Path, *, dry_run: bool) -> dict[str, Any]:
    """Write the file, or only say what it would be.

    Args:
        source: A bundle.
        output: A new file.
        dry_run: Export and check, and publish nothing.

    Returns:
        What was written: names and shapes of inputs and outputs, the largest difference from torch.

    Raises:
        ConversionError: The network cannot be exported, or differs from torch; or the output exists.
        ConfigError: The ONNX packages are not installed.
        BundleError: It is no bundle.
    """
    refuse_existing(output)
    runtime = _packages()
    bundle = load_bundle(source)
    net = for_inference(bundle.net)
    program = _exported(net, bundle)
    program.model.metadata_props.update(_described(bundle))
    with _place(output, dry_run) as path:
        program.save(str(path), external_data=False)
        difference = _difference(runtime, path, net, bundle)
        if not difference <= TOLERANCE:
            raise ConversionError(
                f"ONNX Runtime differs from torch by {difference:.2g}; expected {TOLERANCE:g} at most"
            )
        size = path.stat().st_size
    return {
        "output": str(output),
        "inputs": f"x (batch, {_channels(bundle)}, height, width), time ({_time_shape(bundle)})",
        "size_multiple": str(_multiple(bundle)),
        "opset": str(program.model.opset_imports[""]),
        "bytes": size,
        "max_difference": difference,
    }


@contextmanager
def _place(output: Path, dry_run: bool) -> Iterator[Path]:
    """A path to write to, which gets its final name when the block ends well, or never in a dry run."""
    if not dry_run:
        with staged(output) as path:
            yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / output.name


def _packages() -> Any:
    """ONNX Runtime; the exporter's own packages are asked for too, so that what is missing is said before any work."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; run: pip install 'rddm[onnx]'") from None
    return onnxruntime


def _exported(net: nn.Module, bundle: Bundle) -> Any:
    """The traced program, in which batch, height and width stay open; sides are multiples of the network's own."""
    batch = torch.export.Dim("batch", min=1, max=_BATCH_MAX)
    height, width = (_sides(name, _multiple(bundle)) for name in ("height", "width"))
    try:
        with _quiet(), torch.no_grad():
            return torch.onnx.export(
                net,
                _sample(bundle, *_TRACED),
                dynamo=True,
                input_names=list(_INPUTS),
                output_names=list(_OUTPUTS),
                dynamic_shapes=({0: batch, 2: height, 3: width}, {0: batch}),
                verbose=False,
            )
    except (RuntimeError, ValueError) as error:
        raise ConversionError(f"the network cannot be exported: {' '.join(str(error).split())[:300]}") from None


def _sides(name: str, multiple: int) -> Any:
    if multiple == 1:
        return torch.export.Dim(name, min=1, max=_SIDE_MAX)
    return multiple * torch.export.Dim(f"{name}_{multiple}", min=1, max=_SIDE_MAX // multiple)


def _difference(runtime: Any, path: Path, net: nn.Module, bundle: Bundle) -> float:
    """The largest difference at two sizes, one of them a single image."""
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in _CHECKED:
        x, time = _sample(bundle, *size)
        with torch.no_grad():
            expected = net(x, time)
        (given,) = session.run(list(_OUTPUTS), {"x": x.numpy(), "time": time.numpy()})
        miss = (torch.from_numpy(given) - expected).abs().max() / expected.abs().max().clamp(min=1)
        worst = max(worst, miss.item())
    return worst


def _sample(bundle: Bundle, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Noise, and times from all over the schedule, as the network is told them."""
    multiple, generator = _multiple(bundle), torch.Generator().manual_seed(batch)
    x = torch.randn(batch, _channels(bundle), height * multiple, width * multiple, generator=generator)
    schedule = bundle.restorer().schedule
    t = torch.linspace(1, schedule.num_train_timesteps, batch + 1)[1:].long()
    view = build_view(bundle.config)
    return x, view.signal(schedule, t, view.num_train_timesteps)


def _time_shape(bundle: Bundle) -> str:
    return ", ".join(map(str, ["batch", *_sample(bundle, 1, 1, 1)[1].shape[1:]]))


def _multiple(bundle: Bundle) -> int:
    return bundle.net.size_multiple if isinstance(bundle.net, Network) else 1


def _channels(bundle: Bundle) -> int:
    return len(build_view(bundle.config).inputs) * bundle.config.image_channels


def _described(bundle: Bundle) -> dict[str, str]:
    """What a caller must know to walk the way back with it."""
    return {
        "rddm.config": json.dumps(bundle.config.to_dict()),
        "rddm.weights_sha256": bundle.weights_sha256,
        "rddm.size_multiple": str(_multiple(bundle)),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of other packages that it looked for, and of its own deprecations."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
