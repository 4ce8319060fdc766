"""Reading a data set: random access to its rows, on disk or in a bucket.

The index says where each picture's bytes lie, so opening a data set reads two small files, and reading a row touches
that row's bytes only. Local shards are mapped into memory; remote ones are copied to a local cache once.
"""

from __future__ import annotations

import collections
import io
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.manifest import INDEX, DatasetManifest, Shard, read_manifest, sha256
from pipelines.ops.lossless import decode
from pipelines.shard_cache import ShardCache
from rddm.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPEN_SHARDS = 256  # each mapping holds a file descriptor


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """A row's pixels: uint8 or uint16 RGB (height, width, 3), and the mask, uint8 (height, width), or None.

    Raw ones are views of the file: read-only, and to be copied before they are changed.
    """

    degraded: NDArray[Any]
    clean: NDArray[Any]
    mask: NDArray[np.uint8] | None = None


class Keys(Sequence[str]):
    """The keys of a split's rows, in order; packed, so that a million of them weigh little in every loader process."""

    def __init__(self, packed: pa.StringArray) -> None:
        """Keep the packed strings."""
        self._packed = packed

    def __len__(self) -> int:
        """Rows."""
        return len(self._packed)

    def __getitem__(self, index: Any) -> Any:
        """One key, or a list of them for a slice."""
        found = self._packed[index]
        return found.to_pylist() if isinstance(index, slice) else found.as_py()

    def __iter__(self) -> Iterator[str]:
        """All of them."""
        return (key.as_py() for key in self._packed)


class PairShards:
    """One split of a data set, row by row.

    Args:
        dataset_uri: A finished data set.
        split: `train`, `val` or `test`.
        cache: Where shards of a remote data set are kept; by default in the user's cache folder.

    Raises:
        DataError: There is no such data set, or its index is damaged.
    """

    def __init__(self, dataset_uri: str, split: str, *, cache: ShardCache | None = None) -> None:
        """Read the manifest and the index."""
        self._dataset_uri, self._cache = dataset_uri, cache or ShardCache()
        manifest = read_manifest(dataset_uri)
        self._shards, self._mapped = manifest.shards, _Mapped()
        table = _read_index(dataset_uri, manifest)
        table = table.filter(pc.equal(table["split"], split)).combine_chunks()
        self.keys = Keys(table["key"].combine_chunks() if len(table) else pa.array([], pa.string()))
        self.has_masks = manifest.has_masks
        self._encodings = table["encoding"].combine_chunks() if len(table) else pa.array([], pa.string())
        self._columns = {
            name: table[name].to_numpy() for name in table.column_names if pa.types.is_integer(table[name].type)
        }

    def __len__(self) -> int:
        """Rows."""
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mappings, which a loader process makes for itself."""
        return {**self.__dict__, "_mapped": _Mapped()}

    def pictures(self, index: int) -> Pictures:
        """A row's pixels.

        Raises:
            DataError: The shard is damaged or cannot be read.
            IndexError: There is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        at = {name: int(column[index]) for name, column in self._columns.items()}
        size = (at["height_px"], at["width_px"])
        shapes = {"degraded": (at["degraded_height_px"], at["degraded_width_px"], 3), "clean": (*size, 3), "mask": size}
        depths = {"degraded": at["bit_depth"], "clean": at["bit_depth"], "mask": 8}
        encoding = self._encodings[index].as_py()
        data = self._map(at["shard"])
        pictures = {
            name: decode(
                data[at[f"{name}_offset"] : at[f"{name}_offset"] + at[f"{name}_bytes"]],
                encoding,
                shape=shape,
                bit_depth=depths[name],
            )
            for name, shape in shapes.items()
            if at[f"{name}_bytes"] >= 0
        }
        return Pictures(**pictures)

    def pair(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Degraded and clean pixels of a row; raises as `pictures` does."""
        pictures = self.pictures(index)
        return pictures.degraded, pictures.clean

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """A row's mask; raises as `pictures` does."""
        return self.pictures(index).mask

    def _map(self, number: int) -> memoryview:
        if (data := self._mapped.get(number)) is None:
            data = self._mapped.keep(number, _map(self._cache, self._dataset_uri, self._shards[number]))
        return data


class _Mapped:
    """The mappings of the shards that were read last."""

    def __init__(self) -> None:
        self._shards: collections.OrderedDict[int, memoryview] = collections.OrderedDict()

    def get(self, number: int) -> memoryview | None:
        if number in self._shards:
            self._shards.move_to_end(number)
        return self._shards.get(number)

    def keep(self, number: int, data: memoryview) -> memoryview:
        self._shards[number] = data
        if len(self._shards) > _OPEN_SHARDS:
            self._shards.popitem(last=False)  # its pages are let go when the last picture that views them is
        return data


def _map(cache: ShardCache, dataset_uri: str, shard: Shard) -> memoryview:
    where = storage.join(dataset_uri, shard.path)
    try:
        with open(cache.local_path(dataset_uri, shard), "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise DataError(f"{where} cannot be read ({error}); make the data set again") from None
    if len(data) != shard.num_bytes:
        raise DataError(f"{where} is damaged: it has {len(data)} bytes of {shard.num_bytes}; make the data set again")
    return data


def _read_index(dataset_uri: str, manifest: DatasetManifest) -> pa.Table:
    place = storage.join(dataset_uri, INDEX)
    data = storage.read_bytes(place)
    if sha256(data) != manifest.index_sha256:
        raise DataError(f"{place} is damaged: its hash is not the manifest's; make the data set again")
    return pq.read_table(io.BytesIO(data))
