"""`rddm demo`: one config through the whole workflow, each run in a folder of its own."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from jobs import config_file, evaluate, preprocess, promote, restore, train
from jobs.cluster import ray_session
from jobs.config import RunConfig
from jobs.scoring import Scored, before_and_after, mean_figures, score
from jobs.terminal import Terminal
from jobs.workspace import Workspace, timestamp, tracking_uri
from pipelines import storage
from pipelines.ops.codec import DecodedImage, decode_image, encode_image
from pipelines.shards import PairShards
from rddm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What a whole run reached; written as `summary.json`.

    Attributes:
        seconds: Wall time from the first stage to the last.
        objective: Objective that was trained.
        objective_chosen_by: `AOSA` or `config`.
        input_psnr_db: Mean PSNR of the pictures in the archive against the clean originals.
        restored_psnr_db: The same after restoring.
        input_ssim: Mean SSIM before.
        restored_ssim: Mean SSIM after.
        frechet: Fréchet distances of the evaluation, by the name of their extractor.
        model_version: Version that was promoted and used.
        images_restored: Pictures in the restored archive.
        images_quarantined: Pictures that could not be restored.
        stage_seconds: Wall time of each stage.
        per_image: Figures of every picture.
        paths: Where things lie.
        mlflow_ui: Command that opens MLflow's page.
    """

    seconds: float
    objective: str
    objective_chosen_by: str
    input_psnr_db: float
    restored_psnr_db: float
    input_ssim: float
    restored_ssim: float
    frechet: dict[str, float]
    model_version: int
    images_restored: int
    images_quarantined: int
    stage_seconds: dict[str, float]
    per_image: list[dict[str, Any]]
    paths: dict[str, str]
    mlflow_ui: str

    @property
    def num_quarantined(self) -> int:
        """Pictures that could not be restored."""
        return self.images_quarantined

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `summary.json` and `--json`."""
        return asdict(self)

    def summary(self) -> dict[str, str]:
        """The closing summary for people."""
        gain = self.restored_psnr_db - self.input_psnr_db
        return {
            "objective": f"{self.objective} (chosen by {self.objective_chosen_by})",
            "PSNR": f"{self.input_psnr_db:.2f} dB -> {self.restored_psnr_db:.2f} dB ({gain:+.2f} dB)",
            "SSIM": f"{self.input_ssim:.4f} -> {self.restored_ssim:.4f}",
            **{name: f"{value:.4f}" for name, value in self.frechet.items()},
            "model version": str(self.model_version),
            "pictures": f"{self.images_restored} restored, {self.images_quarantined} quarantined",
            "time": f"{self.seconds:.0f} s: " + ", ".join(f"{k} {v:.0f}" for k, v in self.stage_seconds.items()),
            **self.paths,
            "MLflow": self.mlflow_ui,
        }


class _Stages:
    """Announces each stage and keeps its wall time."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._names: list[str] = []
        self._starts: list[float] = []

    def begin(self, name: str) -> None:
        self._terminal.heading(f"{len(self._names) + 1}. {name}")
        self._names.append(name)
        self._starts.append(time.monotonic())

    @property
    def seconds(self) -> dict[str, float]:
        ends = [*self._starts[1:], time.monotonic()]
        return {name: round(end - start, 1) for name, start, end in zip(self._names, self._starts, ends, strict=True)}


def run(config: RunConfig, terminal: Terminal) -> DemoReport:
    """Preprocess, train, evaluate, promote, restore; then measure the restored archive against the clean originals.

    Everything is written below `WORKSPACE/TIMESTAMP`, so that a second run leaves the first alone.

    Raises:
        RDDMError: What any of the verbs raises.
    """
    config = _own_workspace(config)
    root = Path(config.workspace)
    storage.publish_bytes(str(root / "config.yaml"), config_file.to_yaml(config).encode())
    stages = _Stages(terminal)
    terminal.say(f"This run's folder: {root}")
    with ray_session(config.cluster, min_cpus=config.train.num_workers):
        stages.begin("preprocess")
        preprocess.run(config, terminal)
        stages.begin("train")
        trained = train.run(config, terminal)
        stages.begin("evaluate")
        evaluated = evaluate.run(config, terminal, version=trained.version)
        stages.begin("promote")
        promoted = promote.run(config, terminal, version=trained.version)
        stages.begin("restore")
        archive = root / "archive" / "degraded.zip"
        clean = _pack(Workspace.of(config).dataset_uri, config.evaluate.split, archive)
        config = _restoring(config, archive, root / "restored")
        restored = restore.run(config, terminal)
    stages.begin("measure")
    pictures = _measure(archive, Path(restored.archive_uri), clean)
    grid = _draw(pictures, root / "before-after.png")
    means = mean_figures(pictures)
    report = DemoReport(
        seconds=round(sum(stages.seconds.values()), 1),
        objective=trained.objective,
        objective_chosen_by=trained.objective_chosen_by,
        input_psnr_db=means["input_psnr_db"],
        restored_psnr_db=means["psnr_db"],
        input_ssim=means["input_ssim"],
        restored_ssim=means["ssim"],
        frechet=evaluated.frechet,
        model_version=promoted.version,
        images_restored=restored.num_restored,
        images_quarantined=restored.num_quarantined,
        stage_seconds=stages.seconds,
        per_image=[{"name": picture.key, **picture.figures} for picture in pictures],
        paths={
            "folder": str(root),
            "report": str(restored.report_uri),
            "restored archive": str(restored.archive_uri),
            "manifest": str(restored.manifest_uri),
            "before and after": str(grid),
            "summary": str(root / "summary.json"),
        },
        mlflow_ui=shlex.join(["rddm", "ui", "--config", str(root / "config.yaml")]),
    )
    storage.publish_bytes(str(root / "summary.json"), json.dumps(report.to_dict(), indent=2).encode())
    return report


def plan(config: RunConfig, terminal: Terminal) -> dict[str, Any]:
    """Find the pairs and name the folder, and write nothing."""
    found = preprocess.plan(config, terminal)
    return {**found, "would_write": storage.join(config.workspace, "<timestamp>"), "steps": config.train.steps}


def _own_workspace(config: RunConfig) -> RunConfig:
    if "://" in config.workspace:
        raise ConfigError(
            f"workspace is {config.workspace}; the demo keeps everything on the local disk, give a folder"
        )
    root = Path(config.workspace).expanduser().resolve() / timestamp()
    tracking = dataclasses.replace(config.tracking, uri=tracking_uri(dataclasses.replace(config, workspace=str(root))))
    return dataclasses.replace(config, workspace=str(root), tracking=tracking)


def _restoring(config: RunConfig, archive: Path, output: Path) -> RunConfig:
    wanted = dataclasses.replace(config.restore, input_uri=str(archive), output_uri=str(output))
    return dataclasses.replace(config, restore=wanted)


def _pack(dataset_uri: str, split: str, archive: Path) -> dict[str, NDArray[Any]]:
    """Write the degraded pictures of a split, whole and at their own sizes, as a zip of PNGs; return the clean ones."""
    pairs = PairShards(dataset_uri, split)
    clean = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as members:
        for index, key in enumerate(pairs.keys):
            degraded, target = pairs.pair(index)
            name = f"{key.replace('#', '-')}.png"
            members.writestr(
                zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), encode_image(DecodedImage.from_rgb(degraded))
            )
            clean[name] = target
    storage.publish_bytes(str(archive), buffer.getvalue())
    return clean


def _measure(before: Path, after: Path, clean: dict[str, NDArray[Any]]) -> list[Scored]:
    """Open both archives again, as their receiver would, and score each picture against its clean original."""
    with zipfile.ZipFile(before) as degraded, zipfile.ZipFile(after) as restored:
        pictures = [
            score(name, _pixels(degraded, name), _pixels(restored, name), clean[name]) for name in restored.namelist()
        ]
    if not pictures:
        raise DataError(f"{after} holds no picture; see its quarantine list.")
    return pictures


def _pixels(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    return decode_image(archive.read(name), name=name).pixels


def _draw(pictures: list[Scored], path: Path) -> Path:
    sheet = io.BytesIO()
    Image.fromarray(before_and_after(pictures)).save(sheet, "PNG")
    storage.publish_bytes(str(path), sheet.getvalue())
    return path
