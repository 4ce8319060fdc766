"""A preset in a run's config: what it fixes, and the refusal of a run that says otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rddm.errors import ConfigError
from rddm.presets import PRESETS, Preset

_OPEN = "options"  # free keys: one more of them would be another setting
_FREE = {"accumulate", "size_px"}  # how an update is cut up changes nothing; the size is the data's


def with_preset(data: dict[str, Any], *, where: str) -> dict[str, Any]:
    """A run's plain mapping with all that its preset fixes.

    Args:
        data: The mapping; `preset` may name a preset.
        where: Its origin, for messages.

    Raises:
        ConfigError: There is no such preset, or the mapping contradicts it.
    """
    name = data.get("preset")
    if not name:
        return data
    whole: dict[str, Any] = _merged(
        data, fixed_by(PRESETS[str(name)]), path=(), told=f"{where}: {{}}, and preset {name!r}"
    )
    return whole


def fixed_by(preset: Preset) -> dict[str, Any]:
    """The keys of a run that a preset fixes, as plain values."""
    recipe = asdict(preset.recipe)
    train = {key: value for key, value in recipe.items() if key not in _FREE}
    side = preset.recipe.size_px
    fixed = {
        "data": {"resize_px": side, "equalise_input": preset.model.equalise_input, "patch": {"size_px": 0}},
        "model": preset.model.to_dict(),
        "train": {**train, "crop_px": side, "warmup_steps": 0, "decay": "constant"},
    }
    plain: dict[str, Any] = json.loads(json.dumps(fixed))
    return plain


def _merged(given: Any, fixed: Any, *, path: tuple[str, ...], told: str) -> Any:
    if not isinstance(fixed, Mapping) or path[-1:] == (_OPEN,):
        if given not in (None, fixed):
            dotted = ".".join(path)
            raise ConfigError(
                f"{told.format(f'{dotted} is {given!r}')} fixes it at {fixed!r}; remove the key, or copy what "
                "`rddm preset show` prints and leave the preset's name out"
            )
        return fixed
    whole = dict(given or {})
    for key, value in fixed.items():
        whole[key] = _merged(whole.get(key), value, path=(*path, key), told=told)
    return whole
