"""The preprocessing graph and the training's reader on a real S3 server, whole and behind a proxy that fails."""

from __future__ import annotations

import dataclasses
import io
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import storage
from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.dataset.plans import plan_shards
from pipelines.dataset.records import Records
from pipelines.manifest import read_manifest
from pipelines.preprocess import make_shard
from pipelines.shard_cache import ShardCache
from pipelines.shards import PairShards
from pipelines.sources import find_pairs
from pipelines.training_pairs import KeyedBatchSampler, TrainingPairs, training_loader
from rddm.errors import DataError, StorageUnreachableError
from tests.fault_proxy import FaultProxy
from tests.integration.test_preprocess import FILES, finish, start
from tests.s3 import S3Server
from tests.unit.pipelines.pictures import write_pairs

pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path: Path, s3_prefix: str) -> PreprocessConfig:
    """Pairs in a bucket, one of them torn."""
    write_pairs(tmp_path / "pairs", [f"{n:02d}" for n in range(24)])
    write_pairs(tmp_path / "pairs", ["a", "b"], split="test", size=(30, 70))
    (tmp_path / "pairs/train/low/03.png").write_bytes(b"\x89PNG torn")
    root = storage.join(s3_prefix, "pairs")
    for path in (tmp_path / "pairs").rglob("*.png"):
        storage.publish_file(path, storage.join(root, path.relative_to(tmp_path / "pairs").as_posix()))
    source = SourceConfig(root=root, degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    return PreprocessConfig(source=source, pictures_per_shard=2)


def contents(server: S3Server, uri: str) -> dict[str, bytes]:
    prefix = uri.removeprefix("s3://").partition("/")[2] + "/"
    return {
        key.removeprefix(prefix): storage.read_bytes(storage.join(uri, key.removeprefix(prefix)))
        for key in server.keys(uri + "/")
    }


def test_from_bucket_to_bucket_and_into_the_training(
    config: PreprocessConfig, s3_server: S3Server, s3_prefix: str, tmp_path: Path
) -> None:
    """Killed once on the way; what ends up in the bucket is what an unbroken run on the disk makes."""
    out = storage.join(s3_prefix, "dataset")
    process = start(config, tmp_path / "first", "local", output_uri=out)
    records = storage.join(out, ".staging/records")
    while process.poll() is None and not (storage.exists(records) and len(storage.list_files(records)) >= 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not storage.exists(storage.join(out, "manifest.json"))
    report = finish(start(config, tmp_path / "second", "local", output_uri=out))
    assert report["num_shards_kept"] >= 2
    assert report["num_quarantined"] == 1
    found = contents(s3_server, out)
    assert {name.split("/")[0] for name in found} == FILES, "nothing of the staging is left"
    unbroken = finish(start(config, tmp_path / "third", "local"))
    assert unbroken["fingerprint"] == report["fingerprint"]
    local = {
        path.relative_to(tmp_path / "third").as_posix(): path.read_bytes()
        for path in (tmp_path / "third").rglob("*")
        if path.is_file()
    }
    assert found == local

    cache = ShardCache(folder=str(tmp_path / "cache"))
    remote, near = (PairShards(uri, "train", cache=cache) for uri in (out, str(tmp_path / "third")))
    streams = [
        [
            batch.degraded.numpy()
            for batch in training_loader(
                TrainingPairs(pairs, crop_px=24, seed=1),
                KeyedBatchSampler(len(pairs), global_batch=4, seed=1, num_steps=8),
            )
        ]
        for pairs in (remote, near)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(*streams, strict=True))
    assert {path.stem for path in (tmp_path / "cache").iterdir()} == {
        shard.sha256 for shard in read_manifest(out).shards if shard.split == "train"
    }


def test_the_cache_checks_what_it_keeps_and_drops_the_oldest(
    config: PreprocessConfig, s3_prefix: str, tmp_path: Path
) -> None:
    out = storage.join(s3_prefix, "dataset")
    finish(start(config, tmp_path / "run", "local", output_uri=out))
    shards = [shard for shard in read_manifest(out).shards if shard.split == "train"]
    sizes = [shard.num_bytes for shard in shards]
    cache = ShardCache(folder=str(tmp_path / "cache"), max_bytes=sizes[-1] + sizes[-2] + 10)
    pairs = PairShards(out, "train", cache=cache)
    for index in range(len(pairs)):
        pairs.pair(index)
    kept = {path.stem for path in (tmp_path / "cache").iterdir()}
    assert kept == {shard.sha256 for shard in shards[-2:]}
    storage.publish_bytes(storage.join(out, shards[0].path), b"x" * sizes[0], overwrite=True)
    with pytest.raises(DataError, match="is not the shard that the manifest names"):
        PairShards(out, "train", cache=cache).pair(0)
    assert {path.stem for path in (tmp_path / "cache").iterdir()} <= kept


def test_faults_of_the_server_change_nothing_and_a_dead_one_is_no_fault_of_the_pairs(
    config: PreprocessConfig, fault_proxy: FaultProxy, s3_server: S3Server, s3_prefix: str
) -> None:
    """Without Ray: what a task does, step by step."""
    plans = plan_shards(find_pairs(config, scratch_uri=s3_prefix).pairs, config)
    calm, stormy, dead = (storage.join(s3_prefix, name) for name in ("calm", "stormy", "dead"))
    expected = [make_shard(plan, config, calm) for plan in plans[:3]]
    for plan, record in zip(plans[:3], expected, strict=True):
        fault_proxy.answer(503, times=1)
        fault_proxy.cut_answer(100, times=1)
        fault_proxy.cut_upload(1000, times=1)
        again = make_shard(plan, config, stormy)
        assert again.shard == record.shard
        assert again.index.equals(record.index)
        fault_proxy.heal()
    fault_proxy.reset(times=float("inf"))
    began = time.monotonic()
    with pytest.raises(StorageUnreachableError, match=r"does not answer|AWS_ENDPOINT_URL"):
        make_shard(plans[0], config, dead)
    assert time.monotonic() - began < 60
    fault_proxy.heal()
    fault_proxy.cut_upload(1000, times=float("inf"))
    with pytest.raises(DataError):
        make_shard(plans[0], config, dead)
    fault_proxy.heal()
    assert s3_server.keys(dead + "/") == {}, "no torn object under a final name"
    assert Records(dead).missing(plans) == plans
    table = pq.read_table(io.BytesIO(storage.read_bytes(storage.join(stormy, plans[0].path))))
    assert table["key"].to_pylist() == [item.key for item in plans[0].items]


def test_a_bucket_that_is_lost_in_mid_run_ends_it_clearly_and_it_goes_on_later(
    config: PreprocessConfig, fault_proxy: FaultProxy, s3_prefix: str, tmp_path: Path
) -> None:
    out = storage.join(s3_prefix, "dataset")
    slow = dataclasses.replace(config, pictures_per_shard=1)
    fault_proxy.delay(0.05, times=float("inf"))
    process = start(slow, tmp_path / "first", "local", output_uri=out)
    while (
        process.poll() is None
        and sum("records" in request.target and request.method == "PUT" for request in fault_proxy.requests) < 3
    ):
        time.sleep(0.02)
    fault_proxy.heal()
    fault_proxy.reset(times=float("inf"))
    _, err = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "StorageUnreachableError" in err.splitlines()[-1]
    fault_proxy.heal()
    report = finish(start(slow, tmp_path / "second", "local", output_uri=out))
    assert report["num_shards_kept"] >= 3
    assert report["num_quarantined"] == 1
