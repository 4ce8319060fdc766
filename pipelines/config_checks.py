"""What a data set's config must hold beside its types: numbers in their ranges, choices that go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.config import PreprocessConfig
from pipelines.schema import SPLITS
from pipelines.sources.layouts import resolve
from pipelines.sources.sides import SKIP
from rddm.errors import ConfigError

_AT_LEAST = {
    "degrade.variants": 1,
    "patch.size_px": 0,
    "patch.stride_px": 0,
    "resize_px": 0,
    "pictures_per_shard": 0,
    "row_group_size": 1,
    "row_group_bytes": 1,
    "min_side_px": 1,
    "max_pixels": 1,
    "max_file_bytes": 1,
    "max_unpacked_bytes": 1,
    "source.degraded_scale": 1,
}
_SHARES = ("degrade.strength", "max_quarantined_share")


def settled(config: PreprocessConfig) -> PreprocessConfig:
    """The config with its layout resolved, looked at as `check` does; raises as `resolve` and `check` do."""
    config = replace(config, source=resolve(config.source))
    check(config)
    return config


def check(config: PreprocessConfig) -> None:
    """Look at every number and choice before anything is listed.

    Args:
        config: Its layout resolved (`pipelines.sources.layouts.resolve`).

    Raises:
        ConfigError: One of them is out of its range or unknown; the message names its key.
    """
    for key, least in _AT_LEAST.items():
        if _at(config, key) < least:
            raise ConfigError(f"data.{key} is {_at(config, key)}; expected {least} or more")
    for key in _SHARES:
        if not 0 <= _at(config, key) <= 1:
            raise ConfigError(f"data.{key} is {_at(config, key)}; expected a number in [0, 1]")
    if not 0 <= config.source.val_share < 1:
        raise ConfigError(
            f"data.source.val_share is {config.source.val_share}; expected a number in [0, 1), or nothing is left to "
            "train on"
        )
    for folder, split in config.source.split_names.items():
        if split not in {*SPLITS, SKIP}:
            raise ConfigError(
                f"data.source.split_names.{folder} is {split!r}; expected one of {', '.join([*SPLITS, SKIP])}"
            )
    if config.patch.stride_px > config.patch.size_px:
        raise ConfigError(
            f"data.patch.stride_px is {config.patch.stride_px}, more than size_px, {config.patch.size_px}; "
            "the patches would leave gaps; expected at most size_px"
        )
    if config.source.unpaired and config.patch.size_px:
        raise ConfigError(
            f"data.patch.size_px is {config.patch.size_px}, but patches are cut from both sides of a pair at one "
            "place, which unpaired pictures do not have; expected 0"
        )
    from pipelines.ops.degrade import DEGRADATIONS  # slow to import

    try:
        DEGRADATIONS[config.degrade.name]
    except ConfigError as error:
        raise ConfigError(f"data.degrade.name is {config.degrade.name!r}; {error}") from None


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config
