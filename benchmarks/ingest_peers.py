"""Other ways of storing pairs of pictures and reading them in shuffled batches, each with its fastest honest settings.

Two leagues. `encoded`: pictures are losslessly compressed, and decoded as they are read. `raw`: pixels as they are.
The containers take any bytes, so each of them holds the standard lossless format that decodes fastest here (`encode`).
What was tried for each is said beside the choice: 256 px pairs, batches of 16, 2 cores, files in the page cache.

Everybody is measured with 0 and 2 loader processes, and counts with what suits it better: raw pixels go fastest
without any, for a batch from another process costs a copy into fresh shared memory; decoding takes all the cores.

The packages, next to the project's own. `--no-deps`, because LitData and streaming ask for torchvision, whose wheel
does not import beside a CPU build of torch and breaks torchmetrics there, and streaming asks for numpy < 2.2:

    uv pip install --no-deps webdataset==1.0.2 braceexpand litdata==0.2.76 obstore tifffile mosaicml-streaming==0.13.0
    uv pip install -c constraints.txt boto3 brotli python-snappy 'xxhash<4' zstd 'catalogue<3' tqdm lightning-utilities
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

League = Literal["encoded", "raw"]
Role = Literal["baseline", "peer", "reference", "ours"]
Picture = NDArray[np.uint8]
Pair = tuple[str, Picture, Picture]
Batches = Iterable[Sequence[Tensor]]

SIDE_PX = 256
_SHAPE = (SIDE_PX, SIDE_PX, 3)
_SIDES = ("degraded", "clean")
_CHUNK_BYTES = 64_000_000
_TAR_FILES = 16
_SHUFFLE_BUFFER = 128
# Against Pillow's PNG (1.7 ms a picture) and lossless WebP (1.2 ms): 0.95 ms, and 10 % larger files than the former.
_PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
)

os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")  # it asks the package index for news
cv2.setNumThreads(1)  # the processes share the cores already
# Views of mapped files and of bytes are read-only; nobody writes to them, for a batch is a copy.
warnings.filterwarnings("ignore", message="The given (NumPy array|buffer) is not writable")


def encode(picture: Picture) -> bytes:
    """RGB -> the PNG that decodes fastest."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _PNG_OPTIONS)
    if not done:
        raise ValueError("OpenCV cannot write a PNG")
    return bytes(data)


def decode(data: bytes | memoryview) -> Picture:
    """What `encode` was given. Faster than Pillow, which takes 1.1 ms instead of 0.95."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def pixels(data: bytes | memoryview) -> Picture:
    """Raw bytes as a picture; nothing is copied."""
    return np.frombuffer(data, np.uint8).reshape(_SHAPE)


class Contender(ABC):
    """One way of storing pairs and reading them.

    Attributes:
        name: For people.
        league: Whether it decodes.
        role: What it is compared as; a `reference` shows what is possible and is compared with nothing.
        package: What must be importable.
    """

    name: ClassVar[str]
    league: League
    role: ClassVar[Role] = "peer"
    package: ClassVar[str] = ""

    def __init__(self, league: League) -> None:
        """Enter a league."""
        self.league = league

    def __str__(self) -> str:
        """Its name."""
        return f"{self.name} ({self.league})"

    def missing(self) -> str:
        """Why it cannot take part, or nothing."""
        try:
            if self.package:
                importlib.import_module(self.package)
        except (ImportError, RuntimeError) as error:
            return f"{self.package}: {error}"
        return ""

    @abstractmethod
    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Store pairs in an empty folder."""

    @abstractmethod
    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Open what was written; each iteration is a pass in another order.

        Returns:
            Batches: (degraded, clean), each uint8 of shape (batch, height, width, 3).
        """

    def to_bytes(self, picture: Picture) -> bytes:
        """A picture as this league stores it."""
        return encode(picture) if self.league == "encoded" else picture.tobytes()

    def to_picture(self, data: bytes | memoryview) -> Picture:
        """The reverse."""
        return decode(data) if self.league == "encoded" else pixels(data)

    def to_pair(self, row: dict[str, Any]) -> tuple[Picture, Picture]:
        """Both pictures of a row of bytes."""
        return self.to_picture(row["degraded"]), self.to_picture(row["clean"])

    def collate(self, rows: list[dict[str, Any]]) -> Sequence[Tensor]:
        """A batch from rows of bytes, for loaders that have no other place for decoding."""
        return batch_of([self.to_pair(row) for row in rows])


def batch_of(pairs: Sequence[Any]) -> Sequence[Tensor]:
    """PyTorch's own way: stacked, in a loader process straight into shared memory."""
    degraded, clean = default_collate(list(pairs))
    return degraded, clean


def in_processes(workers: int) -> dict[str, Any]:
    """What every `DataLoader` is given: processes that live on from pass to pass, and read ahead."""
    if not workers:
        return {"num_workers": 0}
    return {
        "num_workers": workers,
        "persistent_workers": True,
        "prefetch_factor": 4,
        "multiprocessing_context": "fork",
    }


def shuffled(dataset: Dataset[Any], *, batch: int, workers: int, seed: int, **options: Any) -> Batches:
    """A `DataLoader` that reads at random."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size=batch, shuffle=True, generator=generator, **in_processes(workers), **options)


class PngFiles(Contender):
    """What most training code does: a folder of PNG files each side, Pillow, PyTorch's defaults."""

    name = "PNG files, Pillow"
    role: ClassVar[Role] = "baseline"

    def __init__(self) -> None:
        """Nothing but encoded."""
        super().__init__("encoded")

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Two folders, written with Pillow's defaults."""
        for side in _SIDES:
            (folder / side).mkdir()
        for key, *pictures in pairs:
            for side, picture in zip(_SIDES, pictures, strict=True):
                Image.fromarray(picture).save(folder / side / f"{key}.png")

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Files in random order. `convert("RGB")`, which such code often has, would cost another copy."""
        return shuffled(_Files(folder, self.read), batch=batch, workers=workers, seed=seed, collate_fn=batch_of)

    @staticmethod
    def read(path: Path) -> Picture:
        """One file."""
        with Image.open(path) as image:
            return np.asarray(image)


class PngFilesOpenCv(PngFiles):
    """The same files, read with the faster library."""

    name = "PNG files, OpenCV"
    role: ClassVar[Role] = "peer"

    @staticmethod
    def read(path: Path) -> Picture:
        """One file."""
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


class _Files(Dataset[tuple[Picture, Picture]]):
    def __init__(self, folder: Path, read: Any) -> None:
        self._folder, self._read = folder, read
        self._names = sorted(path.name for path in (folder / "clean").iterdir())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[Picture, Picture]:
        degraded, clean = (self._read(self._folder / side / self._names[index]) for side in _SIDES)
        return degraded, clean


class OneArray(Contender):
    """All pixels as one array in a mapped file: no container at all, and pictures of one size only."""

    name, role = "one mapped array", "reference"

    def __init__(self) -> None:
        """Nothing but raw."""
        super().__init__("raw")

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Of shape (pairs, 2, height, width, 3)."""
        shape = (len(pairs), 2, *_SHAPE)
        array = np.lib.format.open_memmap(folder / "pairs.npy", mode="w+", dtype=np.uint8, shape=shape)
        for index, (_, degraded, clean) in enumerate(pairs):
            array[index] = degraded, clean
        array.flush()

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Views of the mapping, stacked."""
        views: Any = [tuple(pair) for pair in np.asarray(np.load(folder / "pairs.npy", mmap_mode="r"))]
        return shuffled(views, batch=batch, workers=workers, seed=seed, collate_fn=batch_of)


class WebDataset(Contender):
    """Tar files read from end to end.

    Its shuffling is approximate: files in random order and a buffer. 128 pairs is what is held back here; the manual's
    1000 take 20 % of the speed in the raw league. Raw pairs are one member each, which is half as fast again as two,
    for Python's tarfile spends its time on headers. 16 files, so that two processes have as many each.
    """

    name, package = "WebDataset", "webdataset"

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Encoded pictures are a member each, raw pairs one."""
        import webdataset

        pattern = str(folder / "%04d.tar")
        with webdataset.ShardWriter(pattern, maxcount=math.ceil(len(pairs) / _TAR_FILES), verbose=0) as writer:
            for key, degraded, clean in pairs:
                first, second = self.to_bytes(degraded), self.to_bytes(clean)
                members = {"degraded": first, "clean": second} if self.league == "encoded" else {"both": first + second}
                writer.write({"__key__": key, **{f"{name}.bin": data for name, data in members.items()}})

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Shuffled as bytes, before they are decoded; batches are made where the reading is done."""
        import webdataset

        files = sorted(map(str, folder.glob("*.tar")))
        pipeline = (
            webdataset.WebDataset(files, shardshuffle=len(files), seed=seed)
            .shuffle(_SHUFFLE_BUFFER)  # with a seed, each pass would have the same order
            .map(self.pair_of)
            .batched(batch, collation_fn=batch_of)
        )
        return DataLoader(pipeline, batch_size=None, **in_processes(workers))

    def pair_of(self, sample: dict[str, Any]) -> tuple[Picture, Picture]:
        """Both pictures of a sample."""
        if self.league == "encoded":
            return self.to_picture(sample["degraded.bin"]), self.to_picture(sample["clean.bin"])
        degraded, clean = np.frombuffer(sample["both.bin"], np.uint8).reshape(2, *_SHAPE)
        return degraded, clean


class LitData(Contender):
    """Chunks that it maps into memory where they are local.

    Rows of bytes and its `transform` hook, which gives views of the mapping: 30 % faster than its tensor serializer.
    Chunks of 64 MB, as its manual has it. Its shuffling is approximate: chunks, and windows of rows within a chunk. Its
    loader processes take ten seconds to end, which nothing here counts.
    """

    name, package = "LitData", "litdata"

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """With its writer, in this process; `optimize` would start others around it."""
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(str(folder), chunk_bytes=_CHUNK_BYTES)
        for index, (_, degraded, clean) in enumerate(pairs):
            writer[index] = {"degraded": self.to_bytes(degraded), "clean": self.to_bytes(clean)}
        writer.done()
        writer.merge()

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Its own loader, which its data sets need for counting passes."""
        import litdata

        dataset = litdata.StreamingDataset(str(folder), shuffle=True, seed=seed, transform=self.to_pair)
        loader: Batches = litdata.StreamingDataLoader(
            dataset, batch_size=batch, collate_fn=batch_of, **in_processes(workers)
        )
        return loader


class MosaicStreaming(Contender):
    """MDS shards, read with MosaicML's `StreamingDataset`.

    Columns of bytes: its `ndarray` columns are slower by a third. Shards of 64 MB are its default.
    """

    name, package = "MosaicML StreamingDataset", "streaming"

    def missing(self) -> str:
        """Why it cannot take part, or nothing."""
        try:
            import_streaming()
        except ImportError as error:
            return f"streaming: {error}"
        return ""

    def write(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Neither compressed nor hashed."""
        writer = import_streaming().MDSWriter
        with writer(out=str(folder), columns=dict.fromkeys(_SIDES, "bytes")) as out:
            for _, degraded, clean in pairs:
                out.write({"degraded": self.to_bytes(degraded), "clean": self.to_bytes(clean)})

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """Its own order of samples, with PyTorch's loader, as its manual has it."""
        dataset = import_streaming().StreamingDataset(
            local=str(folder), batch_size=batch, shuffle=True, shuffle_seed=seed
        )
        return DataLoader(dataset, batch_size=batch, collate_fn=self.collate, **in_processes(workers))


class MosaicLocal(MosaicStreaming):
    """The same shards, read with MosaicML's `LocalDataset`: a plain data set with random access, and faster."""

    name = "MosaicML LocalDataset"

    def loader(self, folder: Path, *, batch: int, workers: int, seed: int) -> Batches:
        """In PyTorch's random order."""
        dataset = import_streaming().LocalDataset(str(folder))
        return shuffled(dataset, batch=batch, workers=workers, seed=seed, collate_fn=self.collate)


_STAND_INS: dict[str, tuple[str, ...]] = {
    "torchvision": (),
    "torchvision.datasets": ("VisionDataset",),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": ("to_tensor",),
    "transformers": (),
    "transformers.feature_extraction_utils": ("BatchFeature",),
    "transformers.models": (),
    "transformers.models.auto": (),
    "transformers.models.auto.tokenization_auto": ("AutoTokenizer",),
    "transformers.tokenization_utils_base": ("BatchEncoding",),
}


def import_streaming() -> Any:
    """MosaicML's package, without torchvision and transformers.

    It imports both for data sets of its own that nobody uses here, and for one `isinstance` in a loader that nobody
    uses here. Empty classes stand in for them while it is imported; what is measured runs its own code only.

    Raises:
        ImportError: It is not installed, or something else that it needs is not.
    """
    if "streaming" in sys.modules:
        return sys.modules["streaming"]
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _STAND_INS}
    for name in before:
        del sys.modules[name]
    for name, classes in _STAND_INS.items():
        module = ModuleType(name)
        vars(module).update({each: type(each, (), {}) for each in classes})
        sys.modules[name] = module
    try:
        return importlib.import_module("streaming")
    finally:
        for name in _STAND_INS:
            del sys.modules[name]
        sys.modules.update(before)


def peers() -> list[Contender]:
    """Everybody but us."""
    leagues: tuple[League, ...] = ("encoded", "raw")
    both = [kind(league) for league in leagues for kind in (WebDataset, LitData, MosaicStreaming, MosaicLocal)]
    return [PngFiles(), PngFilesOpenCv(), OneArray(), *both]
