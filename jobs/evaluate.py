"""`rddm evaluate`: a registered version's scores on pairs that training never saw, image by image."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from jobs import tracking
from jobs.cluster import ray_session
from jobs.config import EvaluateConfig, RunConfig
from jobs.model_registry import ModelRegistry, Version, load_bundle_at
from jobs.promote import SCORE_TAG_PREFIX, TEST_SET_TAG
from jobs.scoring import restore_and_score
from jobs.terminal import Terminal
from jobs.workspace import Workspace, timestamp, tracking_uri
from pipelines import storage
from pipelines.graphs import actor_options, told_plainly
from pipelines.manifest import read_manifest
from pipelines.shards import PairShards
from rddm.errors import EmptyDatasetError
from rddm.frechet import FEATURE_EXTRACTORS, frechet_distance

_PICTURES = ("input", "restored", "clean")
PROTOCOL = "native"
"""RGB, 8 or 16 bits, the image's own resolution, nothing resized or cropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """The figures of one version on one split.

    Attributes:
        model: `models:/NAME/VERSION`.
        protocol: Name of the protocol that every figure follows.
        split: Split that was scored.
        images: Scored pairs.
        means: Mean of each metric; `input_...` is the unrestored input's.
        frechet: The distance by the name that says which extractor gave it.
        per_image: A row for each pair.
        uri: Where the table and the summary lie.
        seconds: Wall time.
    """

    model: str
    protocol: str
    split: str
    images: int
    means: dict[str, float]
    frechet: dict[str, float]
    per_image: list[dict[str, Any]]
    uri: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


class ScorePairs:
    """Restores and scores pairs of a split; built from plain data, loads the bundle once an actor."""

    def __init__(
        self, registry_uri: str, model_uri: str, dataset_uri: str, seed: int, settings: EvaluateConfig
    ) -> None:
        """Load the verified bundle and open the split."""
        torch.set_num_threads(1)
        self._restorer = load_bundle_at(registry_uri, model_uri).restorer()
        self._pairs = PairShards(dataset_uri, settings.split)
        self._extractor = FEATURE_EXTRACTORS[settings.feature_extractor]()
        self._seed, self._patch_px = seed, settings.patch_px

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """`index` of a pair -> its key, its figures as JSON, and the features of patches of all three pictures."""
        index = int(row["index"])
        key = self._pairs.keys[index]
        scored = restore_and_score(self._restorer, key, self._pairs.pictures(index), seed=self._seed)
        features = [self._extractor(_patches(picture, self._patch_px)).numpy() for picture in scored.pictures]
        return {
            "key": scored.key,
            "figures": json.dumps(scored.figures),
            **{f"features_{name}": part for name, part in zip(_PICTURES, features, strict=True)},
        }


def run(config: RunConfig, terminal: Terminal, *, version: int | None = None) -> EvaluationReport:
    """Score a version (the newest unless one is named) and note the figures on it.

    Raises:
        ModelNotFoundError: There is no such version.
        DataError: There is no data set, or the split is empty.
        ClusterUnreachableError, RegistryUnreachableError: Ray or MLflow does not answer.
    """
    started = time.monotonic()
    registry = ModelRegistry(tracking_uri(config))
    target = _target(registry, config, version)
    dataset_uri = Workspace.of(config).dataset_uri
    fingerprint = read_manifest(dataset_uri).fingerprint
    with (
        ray_session(config.cluster),
        terminal.progress(f"evaluate {target.uri}") as advance,
        told_plainly("Evaluating"),
    ):
        rows = _score(config, target, dataset_uri, advance)
    per_image = [{"key": row["key"], **json.loads(row["figures"])} for row in rows]
    means = {name: float(np.mean([row[name] for row in per_image])) for name in per_image[0] if name != "key"}
    report = EvaluationReport(
        model=target.uri,
        protocol=PROTOCOL,
        split=config.evaluate.split,
        images=len(per_image),
        means=means,
        frechet=_frechet(rows, config.evaluate),
        per_image=per_image,
        uri=storage.join(Workspace.of(config).evaluation_uri, f"version-{target.number}-{timestamp()}"),
        seconds=round(time.monotonic() - started, 1),
    )
    _publish(report)
    _note(registry, target, report, f"{fingerprint}/{config.evaluate.split}/{PROTOCOL}")
    return report


def plan(config: RunConfig, terminal: Terminal, *, version: int | None = None) -> dict[str, Any]:
    """Find the version and the pairs, and score nothing."""
    target = _target(ModelRegistry(tracking_uri(config)), config, version)
    pairs = PairShards(Workspace.of(config).dataset_uri, config.evaluate.split)
    return {"model": target.uri, "split": config.evaluate.split, "pairs": len(pairs), "protocol": PROTOCOL}


def _target(registry: ModelRegistry, config: RunConfig, version: int | None) -> Version:
    name = config.model_name
    return registry.latest(name) if version is None else registry.resolve(f"models:/{name}/{version}")


def _score(config: RunConfig, target: Version, dataset_uri: str, advance: Any) -> list[dict[str, Any]]:
    import ray.data

    count = len(PairShards(dataset_uri, config.evaluate.split))
    if count == 0:
        raise EmptyDatasetError(
            f"Split {config.evaluate.split!r} of {dataset_uri} is empty; set evaluate.split to another."
        )
    scored = ray.data.from_items([{"index": i} for i in range(count)], override_num_blocks=count).map(
        ScorePairs,
        fn_constructor_args=(tracking_uri(config), target.uri, dataset_uri, config.seed, config.evaluate),
        **actor_options(min(config.evaluate.num_actors, count)),
    )
    rows = []
    for row in scored.iter_rows():
        rows.append(row)
        advance(len(rows), count)
    return sorted(rows, key=lambda row: str(row["key"]))


def _frechet(rows: list[dict[str, Any]], settings: EvaluateConfig) -> dict[str, float]:
    before, after, clean = (
        torch.cat([torch.from_numpy(np.array(row[f"features_{name}"])) for row in rows]) for name in _PICTURES
    )
    name = f"frechet_{settings.feature_extractor}"
    return {f"input_{name}": frechet_distance(before, clean), name: frechet_distance(after, clean)}


def _patches(picture: Any, size: int) -> torch.Tensor:
    """Disjoint square patches, float32 in [0, 1], (n, 3, size, size); a small picture is continued by its edges."""
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    below, right = (max(0, size - side) for side in image.shape[1:])
    image = torch.nn.functional.pad(image[None], (0, right, 0, below), mode="replicate")[0]
    tiles = image.unfold(1, size, size).unfold(2, size, size)
    return tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)


def _publish(report: EvaluationReport) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(report.per_image[0]))
    writer.writeheader()
    writer.writerows(report.per_image)
    storage.publish_bytes(storage.join(report.uri, "per_image.csv"), table.getvalue().encode())
    storage.publish_bytes(storage.join(report.uri, "summary.json"), json.dumps(report.to_dict(), indent=2).encode())


def _note(registry: ModelRegistry, target: Version, report: EvaluationReport, test_set: str) -> None:
    figures = {**report.means, **report.frechet}
    tags = {f"{SCORE_TAG_PREFIX}{name}": f"{value:.6f}" for name, value in figures.items()}
    registry.set_tags(target, {**tags, TEST_SET_TAG: test_set})
    tracker = tracking.MlflowTracker(registry.uri, target.run_id)
    tracker.log({f"{report.split}/{name}": value for name, value in figures.items()}, step=target.number)
    tracker.json(f"evaluation/version-{target.number}.json", report.to_dict())
