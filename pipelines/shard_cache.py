"""A local copy of each remote shard that is read: checked by its hash, shared by all processes, bounded in size."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import storage
from pipelines.dataset.shard_writer import sha256_of_file
from pipelines.manifest import Shard
from rddm.errors import DataError

_OURS = re.compile(r"[0-9a-f]{64}\.parquet")


def _default_folder() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("RDDM_CACHE") or str(Path(home) / "rddm" / "shards")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardCache:
    """Where shards of remote data sets are kept on this machine.

    Attributes:
        folder: A local folder; `RDDM_CACHE` or the user's cache folder by default.
        max_bytes: Size above which the shards that were read the longest time ago are dropped.
    """

    folder: str = field(default_factory=_default_folder)
    max_bytes: int = 200_000_000_000

    def local_path(self, dataset_uri: str, shard: Shard) -> str:
        """A local file with a shard's content; local data sets are read where they lie.

        Raises:
            DataError: It cannot be read, or is not what the manifest says.
        """
        uri = storage.join(dataset_uri, shard.path)
        if storage.is_local(uri):
            return storage.filesystem(uri)[1]
        place = Path(self.folder) / f"{shard.sha256}.parquet"
        if place.exists():
            with suppress(OSError):
                os.utime(place)  # the mark by which the oldest is told
            return str(place)
        self._make_room(shard.num_bytes)
        self._fetch(uri, shard, place)
        return str(place)

    def _fetch(self, uri: str, shard: Shard, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as folder:
            fetched = Path(folder) / place.name
            storage.download(uri, str(fetched))
            if sha256_of_file(fetched) != shard.sha256:
                raise DataError(f"{uri} is not the shard that the manifest names; make the data set again")
            os.replace(fetched, place)

    def _make_room(self, needed: int) -> None:
        """Drop old files; a process that still reads one keeps its mapping."""
        with suppress(FileNotFoundError):
            files = sorted(
                (entry.stat().st_mtime, entry.stat().st_size, entry.path)
                for entry in os.scandir(self.folder)
                if _OURS.fullmatch(entry.name)
            )
            excess = sum(size for _, size, _ in files) + needed - self.max_bytes
            for _, size, path in files:
                if excess <= 0:
                    return
                with suppress(FileNotFoundError):
                    os.remove(path)
                excess -= size
