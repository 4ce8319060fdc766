"""What a worker of a training is given, without a group around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import config_file
from jobs.tracking import NullTracker
from jobs.train import _check_masks
from jobs.worker import Batch, Worker
from pipelines.manifest import read_manifest
from rddm.config import build_schedule
from rddm.errors import DataError
from rddm.tasks import TASKS
from tests.unit.pipelines.datasets import make_dataset


def worker(dataset_uri: str, *, rank: int = 0, world_size: int = 1, **train: Any) -> Worker:
    mapping = {
        "name": "masked",
        "workspace": "w",
        "data": {},
        "model": {"task": "masked_restoration"},
        "train": {"crop_px": 16, "global_batch": 6, **train},
    }
    config = config_file.from_mapping(mapping)
    return Worker(
        config=config,
        dataset_uri=dataset_uri,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        tracker=NullTracker(),
        board=None,
        schedule=build_schedule(config.model),
        task=TASKS[config.model.task](),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("masked"), splits={"train": 7}, masks=True)


def test_masks_come_with_their_pictures(dataset: str) -> None:
    (batch,) = worker(dataset).batches("train", 0, 1)
    assert batch.mask is not None
    assert batch.mask.shape == (6, 3, 16, 16), "of the images' shape, as the paper's network takes it"
    red = (batch.x_start[:, :1] + 1) / 2 * 255
    assert torch.equal(batch.mask[:, :1], (red.round() > 127).float()), "cropped and turned as their pictures are"


def test_loader_processes_and_the_number_of_workers_change_nothing(dataset: str) -> None:
    def steps(world_size: int, processes: int) -> list[set[bytes]]:
        groups = [
            worker(dataset, rank=rank, world_size=world_size, loader_processes=processes).batches("train", 3, 6)
            for rank in range(world_size)
        ]
        return [{one for batch in step for one in samples(batch)} for step in zip(*groups, strict=True)]

    expected = steps(1, 0)
    assert [len(step) for step in expected] == [6, 6, 6]
    assert steps(1, 2) == steps(2, 0) == steps(3, 1) == expected


def samples(batch: Batch) -> list[bytes]:
    """Each sample with all that is drawn for it."""
    parts = zip(*(tensor for tensor in batch if tensor is not None), strict=True)
    return [b"".join(part.numpy().tobytes() for part in sample) for sample in parts]


def test_a_task_with_masks_refuses_a_data_set_without(tmp_path: Path) -> None:
    uri = make_dataset(tmp_path)
    with pytest.raises(DataError, match=r"masked_restoration.*data\.source\.mask"):
        _check_masks(worker(uri).config, read_manifest(uri))
