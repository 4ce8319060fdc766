"""Randomness as a function of a key: the same draw for the same sample, whatever worker or batch it falls into."""

from __future__ import annotations

import hashlib

import torch


def keyed_seed(*key: int | str) -> int:
    """A seed in [0, 2^63) that depends on every part of the key, and on nothing else.

    Args:
        key: For instance `(seed, step, sample)`; `1` and `"1"` are different parts.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def keyed_generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded with `keyed_seed(*key)`."""
    return torch.Generator().manual_seed(keyed_seed(*key))
