from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.shards import PairShards, Pictures
from pipelines.training_pairs import (
    KeyedBatchSampler,
    PixelBatch,
    TrainingPairs,
    TrainingSample,
    collate,
    training_loader,
)
from rddm.errors import EmptyDatasetError
from tests.unit.pipelines.datasets import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("pairs"), splits={"train": 10, "test": 1}, masks=True)


def test_crops_are_aligned_and_decided_by_seed_pass_and_key(dataset: str) -> None:
    pairs = PairShards(dataset, "train")
    crops = TrainingPairs(pairs, crop_px=24, seed=5)
    first, again, later = crops[2, 0], TrainingPairs(pairs, crop_px=24, seed=5)[2, 0], crops[2, 1]
    assert first.key == "train/002"
    assert first.pictures.clean.shape == first.pictures.degraded.shape == (24, 24, 3)
    assert np.array_equal(first.pictures.clean, again.pictures.clean)
    assert not np.array_equal(first.pictures.clean, later.pictures.clean)
    assert not np.array_equal(first.pictures.clean, TrainingPairs(pairs, crop_px=24, seed=6)[2, 0].pictures.clean)
    for crop in (first, later):
        assert np.array_equal(crop.pictures.degraded, crop.pictures.clean // 3), "the same crop and flip on both"
        assert np.array_equal(crop.pictures.mask, (crop.pictures.clean[..., 0] > 127) * np.uint8(255)), "and the mask"  # type: ignore[arg-type]


def test_all_eight_symmetries_are_as_likely(dataset: str) -> None:
    """Not every picture is mirrored: peers' code does that by mistake."""
    pairs = PairShards(dataset, "train")
    crops, (_, clean) = TrainingPairs(pairs, crop_px=40, seed=0), pairs.pair(0)
    windows = [clean[:, x : x + 40] for x in range(clean.shape[1] - 40 + 1)]
    symmetry = {
        np.rot90(window[:, ::-1] if mirrored else window, turns).tobytes(): (mirrored, turns)
        for window in windows
        for mirrored in (False, True)
        for turns in range(4)
    }
    seen = Counter(symmetry[crops[0, visit].pictures.clean.tobytes()] for visit in range(240))
    assert len(seen) == 8
    assert max(seen.values()) < 3 * min(seen.values())


def test_a_small_picture_is_padded(dataset: str) -> None:
    crop = TrainingPairs(PairShards(dataset, "train"), crop_px=64, seed=0)[0, 0].pictures
    assert crop.clean.shape == (64, 64, 3)
    assert crop.mask is not None
    assert np.array_equal(crop.mask, (crop.clean[..., 0] > 127) * np.uint8(255))


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_sixteen_bits_reach_the_network_whole(tmp_path: Path, bit_depth: int) -> None:
    pairs = PairShards(make_dataset(tmp_path, splits={"train": 3}, masks=True, bit_depth=bit_depth), "train")
    batch = collate([TrainingPairs(pairs, crop_px=16, seed=0)[index, 0] for index in range(3)])
    x_input, x_start, mask = batch.images()
    assert x_start.shape == x_input.shape == (3, 3, 16, 16)
    assert mask is not None
    assert mask.shape == (3, 3, 16, 16)
    assert set(mask.flatten().tolist()) <= {0.0, 1.0}
    peak = 255 if bit_depth == 8 else 65535
    again = ((x_start.double() + 1) / 2 * peak).round().movedim(1, -1)
    assert torch.equal(again.to(torch.int32), batch.clean.to(torch.int32))
    if bit_depth == 16:
        assert len(set(batch.clean.flatten().tolist())) > 300


def test_unpaired_sides_come_from_different_rows_anew_in_each_pass(dataset: str) -> None:
    pairs = PairShards(dataset, "train")
    crops = TrainingPairs(pairs, crop_px=24, seed=5, unpaired=True)
    partners = {crops[2, visit].pictures.degraded.tobytes() for visit in range(6)}
    assert len(partners) > 2
    assert np.array_equal(crops[2, 1].pictures.degraded, crops[2, 1].pictures.degraded)


def test_an_empty_split_is_refused(dataset: str) -> None:
    with pytest.raises(EmptyDatasetError, match="training split is empty"):
        TrainingPairs(PairShards(dataset, "val"), crop_px=8, seed=0)


def stream(
    dataset: str, world: int, processes: int, start: int = 0, steps: int = 3
) -> list[list[tuple[str, int, bytes]]]:
    """What each step of 24 samples holds, over all workers, by key."""
    pairs = TrainingPairs(PairShards(dataset, "train"), crop_px=16, seed=1)
    loaders = [
        training_loader(
            pairs,
            KeyedBatchSampler(
                len(pairs), global_batch=24, rank=rank, world_size=world, seed=1, start_step=start, num_steps=steps
            ),
            num_workers=processes,
        )
        for rank in range(world)
    ]

    def samples(batch: PixelBatch) -> list[tuple[str, int, bytes]]:
        parts = zip(batch.keys, batch.visits, batch.degraded, batch.clean, batch.mask, strict=True)  # type: ignore[arg-type]
        return [(key, visit, b"".join(part.numpy().tobytes() for part in rest)) for key, visit, *rest in parts]

    return [sorted(sample for batch in step for sample in samples(batch)) for step in zip(*loaders, strict=True)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes:UserWarning")
@pytest.mark.parametrize(("world", "processes"), [(1, 1), (1, 3), (2, 0), (3, 1), (4, 0), (6, 0), (8, 0)])
def test_the_stream_is_the_same_for_any_number_of_workers_and_processes(
    dataset: str, world: int, processes: int
) -> None:
    assert stream(dataset, world, processes) == stream(dataset, 1, 0)


def test_going_on_at_a_step_gives_what_an_unbroken_run_had(dataset: str) -> None:
    assert stream(dataset, 2, 0, start=4, steps=2) == stream(dataset, 1, 0, steps=6)[4:]


@given(
    samples=st.integers(1, 40),
    batch=st.sampled_from([12, 24]),
    world=st.sampled_from([1, 2, 3, 4, 6]),
    start=st.integers(0, 50),
)
def test_the_union_over_workers_does_not_depend_on_their_number(
    samples: int, batch: int, world: int, start: int
) -> None:
    def steps(world_size: int) -> list[list[tuple[int, int]]]:
        samplers = [
            KeyedBatchSampler(
                samples, global_batch=batch, rank=rank, world_size=world_size, seed=1, start_step=start, num_steps=3
            )
            for rank in range(world_size)
        ]
        return [sorted(position for part in step for position in part) for step in zip(*samplers, strict=True)]

    assert steps(world) == steps(1)


def test_a_pass_visits_every_row_once_and_resuming_is_immediate() -> None:
    def positions(start: int, count: int) -> list[tuple[int, int]]:
        sampler = KeyedBatchSampler(30, global_batch=10, seed=1, start_step=start, num_steps=count)
        return [position for step in sampler for position in step]

    whole = positions(0, 9)
    for visit in range(3):
        assert sorted(index for index, at in whole if at == visit) == list(range(30))
    assert [index for index, at in whole if at == 0] != [index for index, at in whole if at == 1]
    assert positions(4, 5) == whole[40:]
    assert positions(10**9, 1)


def test_eight_and_sixteen_bits_in_one_batch_are_as_bright_as_alone() -> None:
    grey, deep_grey = np.full((2, 2, 3), 200, np.uint8), np.full((2, 2, 3), 51400, np.uint16)
    shallow = TrainingSample(key="a", visit=0, pictures=Pictures(grey, grey))
    deep = TrainingSample(key="b", visit=0, pictures=Pictures(deep_grey, deep_grey))
    together, _, _ = collate([shallow, deep]).images()
    alone = [collate([sample]).images()[0] for sample in (shallow, deep)]
    assert torch.equal(together, torch.cat(alone))
    assert float(together[0, 0, 0, 0] + 1) / 2 == pytest.approx(200 / 255)


def test_masks_of_some_rows_only_are_left_out(tmp_path: Path) -> None:
    pairs = PairShards(make_dataset(tmp_path, splits={"train": 3}, masks=True), "train")
    pairs.has_masks = False  # what the manifest says where one row has none
    batch = collate([TrainingPairs(pairs, crop_px=16, seed=0)[index, 0] for index in range(3)])
    assert batch.mask is None
