from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from jobs import config_file
from pipelines.config import DegradeConfig, PatchConfig, PreprocessConfig, SourceConfig
from pipelines.config_checks import check
from pipelines.sources.layouts import resolve
from rddm.errors import ConfigError
from tests.conftest import REPOSITORY

BAD: list[tuple[str, dict[str, Any]]] = [
    ("data.degrade.variants is 0", {"degrade": DegradeConfig(variants=0)}),
    ("data.degrade.strength is 1.5", {"degrade": DegradeConfig(strength=1.5)}),
    ("data.degrade.strength is -0.1", {"degrade": DegradeConfig(strength=-0.1)}),
    ("data.degrade.strength is nan", {"degrade": DegradeConfig(strength=float("nan"))}),
    (
        "data.degrade.name is 'blurr'; unknown degradation 'blurr'; did you mean 'blur'?",
        {"degrade": DegradeConfig(name="blurr")},
    ),
    ("data.patch.size_px is -4", {"patch": PatchConfig(size_px=-4)}),
    ("data.patch.stride_px is -5", {"patch": PatchConfig(size_px=64, stride_px=-5)}),
    ("data.patch.stride_px is 500, more than size_px", {"patch": PatchConfig(size_px=64, stride_px=500)}),
    ("data.resize_px is -3", {"resize_px": -3}),
    ("data.pictures_per_shard is -1", {"pictures_per_shard": -1}),
    ("data.row_group_size is 0", {"row_group_size": 0}),
    ("data.row_group_bytes is 0", {"row_group_bytes": 0}),
    ("data.min_side_px is 0", {"min_side_px": 0}),
    ("data.max_pixels is 0", {"max_pixels": 0}),
    ("data.max_file_bytes is 0", {"max_file_bytes": 0}),
    ("data.max_unpacked_bytes is 0", {"max_unpacked_bytes": 0}),
    ("data.max_quarantined_share is 7", {"max_quarantined_share": 7.0}),
    ("data.max_quarantined_share is -0.1", {"max_quarantined_share": -0.1}),
    ("data.source.val_share is 1.5", {"source": SourceConfig(val_share=1.5)}),
    ("data.source.val_share is -0.5", {"source": SourceConfig(val_share=-0.5)}),
    ("data.source.val_share is 1.0; expected a number in [0, 1)", {"source": SourceConfig(val_share=1.0)}),
    ("data.source.degraded_scale is 0", {"source": SourceConfig(degraded_scale=0)}),
    ("data.source.split_names.test is 'tset'", {"source": SourceConfig(split_names={"test": "tset"})}),
    ("data.patch.size_px is 8, ", {"source": SourceConfig(kind="unpaired_folders"), "patch": PatchConfig(size_px=8)}),
]


@pytest.mark.parametrize(("message", "change"), BAD, ids=[message for message, _ in BAD])
def test_a_bad_number_or_choice_is_named(message: str, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(PreprocessConfig(**change))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "jobs/configs").glob("*.yaml")), ids=lambda path: path.name)
def test_what_is_shipped_passes(path: Path) -> None:
    data = config_file.load(path).data
    check(dataclasses.replace(data, source=resolve(data.source)))
    check(PreprocessConfig())
