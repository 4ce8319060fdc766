"""Check a file of the official implementation's numbers, all of its keys: `python -m tests.reference.official FILE`.

Each key's settings are read, the array is computed again by `rddm`, and the largest difference is printed twice: as it
is, and divided by max(1, |official|). The second one is judged: at most 1e-6 for coefficients, and 1e-5 for images,
losses and outputs of networks. For numbers up to 1 both are the same; float32 itself cannot hold 1e-5 at magnitudes
above 100, which divisions by tiny coefficients reach. Each number is divided by its own magnitude; only the outputs of
networks are by the largest of their array, since every pixel of those carries the rounding of the whole image (the
official numbers themselves are 6e-5 from the float64 result there). For networks the difference of the equations
computed operation after operation is printed beside.

A key that nobody can read, or a setting that nobody knows, is an error. With official.json beside the file (or
`--json`), its entries are checked too. Exit code 0: all is well; 1: it is not.
"""

from __future__ import annotations

import os

# The official numbers were computed without AVX-512: with these, networks agree in every bit. Before torch is loaded.
os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.reference.arrays import HANDLERS
from tests.reference.entries import check_entries
from tests.reference.judge import Verdict, attempt, judge
from tests.reference.keys import Key, kind_of


def read_arrays(path: Path) -> dict[str, Tensor]:
    """All arrays of a file."""
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def read_entries(path: Path) -> dict[str, Any]:
    """All entries of an official.json."""
    entries: dict[str, Any] = json.loads(path.read_text())
    return entries


def check_array(raw: str, arrays: Mapping[str, Tensor]) -> Verdict:
    """One key of official.npz."""
    (verdict,) = attempt(raw, _verdicts, raw, arrays)
    return verdict


def _verdicts(raw: str, arrays: Mapping[str, Tensor]) -> Iterator[Verdict]:
    key = Key(raw, calls=raw.startswith("unet|"))
    ours = HANDLERS[key.kind](key, arrays)
    key.end()
    if ours.value is None:
        yield Verdict(raw, "given")
    else:
        yield judge(raw, arrays[raw], ours.value, ours.tolerance, whole=ours.whole, text=ours.text)


def check(arrays: Mapping[str, Tensor], entries: Mapping[str, Any]) -> Iterator[Verdict]:
    """Everything of both files."""
    for raw in arrays:
        yield check_array(raw, arrays)
    yield from check_entries(entries, arrays)


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each kind, with the worst of it, and one for all."""
    kinds: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        kinds.setdefault(kind_of(verdict.key), []).append(verdict)
    lines = [
        f"{kind}: {sum(v.passed for v in found)} of {len(found)} pass, "
        f"largest difference {max(v.error for v in found):.2e}, scaled {max(v.scaled for v in found):.2e}"
        for kind, found in kinds.items()
    ]
    return [*lines, f"all: {sum(v.passed for v in verdicts)} of {len(verdicts)} pass"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every verdict and the summary; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.official", description=__doc__)
    parser.add_argument("file", type=Path, help="the .npz")
    parser.add_argument("--json", type=Path, help="the .json; by default official.json beside the .npz, if any")
    options = parser.parse_args(arguments)
    beside = options.file.with_name("official.json")
    entries = options.json or (beside if beside.exists() else None)
    torch.set_num_threads(1)
    verdicts = []
    for verdict in check(read_arrays(options.file), read_entries(entries) if entries else {}):
        print(verdict)
        verdicts.append(verdict)
    print("", *summary(verdicts), sep="\n")
    return 0 if verdicts and all(verdict.passed for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
