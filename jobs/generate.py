"""`rddm generate`: pictures out of noise alone, with a model that was trained for it."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jobs.config import GenerateConfig, RunConfig
from jobs.model_registry import ModelRegistry
from jobs.restore import pinned_model
from jobs.terminal import Terminal
from jobs.workspace import Workspace, timestamp, tracking_uri
from pipelines import storage
from rddm.errors import ConfigError
from rddm.images import to_pixels
from rddm.keyed import keyed_seed
from rddm.tasks import Generation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rddm.restorer import Restorer

_SHEET, _MANIFEST = "sheet.png", "manifest.json"
_GAP_PX = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationReport:
    """What was drawn.

    Attributes:
        model_uri: The model.
        images: Pictures.
        output_uri: Where they lie.
        sheet_uri: All of them in one picture.
        seconds: Wall time.
    """

    model_uri: str
    images: int
    output_uri: str
    sheet_uri: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def run(config: RunConfig, terminal: Terminal) -> GenerationReport:
    """Draw `generate.num_images` pictures; picture i is a function of the run's seed and i.

    Raises:
        ConfigError: The model was not trained for generation, or a number is wrong.
        DataError: The output holds a picture of that name already.
        ModelNotFoundError: The model, its version or its alias does not exist.
        RegistryUnreachableError: MLflow does not answer.
    """
    started = time.monotonic()
    settings, (model_uri, output) = config.generate, _places(config)
    restorer = ModelRegistry(tracking_uri(config)).bundle(model_uri).restorer()
    _check(settings, restorer, model_uri)
    pictures: list[NDArray[np.uint8]] = []
    with terminal.progress("generate") as advance:
        for first in range(0, settings.num_images, settings.batch):
            numbers = range(first, min(first + settings.batch, settings.num_images))
            for number, picture in zip(numbers, _drawn(restorer, settings, config.seed, numbers), strict=True):
                storage.publish_bytes(storage.join(output, f"{number:05d}.png"), _png(picture))
                pictures.append(picture)
            advance(len(pictures), settings.num_images)
    storage.publish_bytes(storage.join(output, _SHEET), _png(_sheet(pictures)))
    report = GenerationReport(
        model_uri=model_uri,
        images=len(pictures),
        output_uri=output,
        sheet_uri=storage.join(output, _SHEET),
        seconds=round(time.monotonic() - started, 1),
    )
    told = {**report.to_dict(), "seed": config.seed, "settings": asdict(settings)}
    storage.publish_bytes(storage.join(output, _MANIFEST), json.dumps(told, indent=2).encode())
    return report


def plan(config: RunConfig, terminal: Terminal) -> dict[str, Any]:
    """Resolve the model and the place, and write nothing."""
    model_uri, output = _places(config)
    return {"model": model_uri, "images": config.generate.num_images, "would_write": output}


def _places(config: RunConfig) -> tuple[str, str]:
    settings = config.generate
    model = settings.model_uri or f"models:/{config.model_name}@{config.promote.alias}"
    output = settings.output_uri or storage.join(Workspace.of(config).generated_uri, timestamp())
    return pinned_model(tracking_uri(config), model), output


def _check(settings: GenerateConfig, restorer: Restorer, model_uri: str) -> None:
    if not isinstance(restorer.task, Generation):
        raise ConfigError(
            f"{model_uri} was trained for another task than generation; restore pictures with it: rddm restore"
        )
    if min(settings.num_images, settings.batch, settings.width_px, settings.height_px) < 1:
        raise ConfigError("generate.num_images, batch, width_px and height_px must be 1 or more")


def _drawn(restorer: Restorer, settings: GenerateConfig, seed: int, numbers: range) -> list[NDArray[np.uint8]]:
    shape = (restorer.image_channels, settings.height_px, settings.width_px)
    images = restorer.generate(shape, seeds=[keyed_seed(seed, "generate", number) for number in numbers])
    rgb = images.expand(-1, 3, -1, -1) if shape[0] == 1 else images
    return [to_pixels(image, bit_depth=8).numpy() for image in rgb.cpu()]


def _sheet(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All pictures in rows, about as many in a row as there are rows."""
    columns = math.ceil(len(pictures) ** 0.5)
    height, width = (side + _GAP_PX for side in pictures[0].shape[:2])
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * height - _GAP_PX, columns * width - _GAP_PX, 3), 255, dtype=np.uint8)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet[row * height :, column * width :][: picture.shape[0], : picture.shape[1]] = picture
    return sheet


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
