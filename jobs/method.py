"""Looking at the method from the command line: schedules and presets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from jobs import figures
from jobs.config_file import parse_override
from jobs.presets import fixed_by
from jobs.terminal import Terminal, emit_json
from pipelines import storage
from rddm.config import ModelConfig, ScheduleConfig, build_schedule
from rddm.errors import ConfigError
from rddm.objectives import OBJECTIVES
from rddm.presets import PRESETS
from rddm.schedules import CURVES, SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rddm.schedules import Schedule

_SHOWN = 10


def list_schedules(terminal: Terminal, *, as_json: bool) -> None:
    """Names of everything that `rddm schedule show` takes."""
    names = {"schedules": list(SCHEDULES), "curves of the schedule `curves`": list(CURVES), "presets": list(PRESETS)}
    if as_json:
        emit_json(names)
    else:
        terminal.table("schedules", {kind: ", ".join(entries) for kind, entries in names.items()})


def show_schedule(name: str, overrides: Sequence[str], terminal: Terminal, *, plot: Path | None, as_json: bool) -> None:
    """Print a schedule, and draw it.

    Args:
        name: A name in `SCHEDULES` or `PRESETS`.
        overrides: `KEY=VALUE` of `ScheduleConfig`; other keys are the schedule's own options.
        terminal: Where it is printed.
        plot: A picture that does not exist yet.
        as_json: Whether JSON is printed, with both tables whole.

    Raises:
        ConfigError: A name or a number is wrong.
        DataError: The picture exists.
    """
    config = _schedule_config(name, overrides)
    schedule = build_schedule(ModelConfig(schedule=config))
    if plot is not None:
        _draw(schedule, name, plot)
    if as_json:
        tables = {"alphas_cumsum": schedule.alphas_cumsum.tolist(), "betas2_cumsum": schedule.betas2_cumsum.tolist()}
        emit_json({"name": name, **tables, "first_time": _served(schedule)})
        return
    times = sorted({round(k * schedule.num_train_timesteps / _SHOWN) for k in range(_SHOWN + 1)})
    levels = {
        f"t = {t}": f"residual {schedule.alphas_cumsum[t].item():.6f}, noise variance "
        f"{schedule.betas2_cumsum[t].item():.6f}"
        for t in times
    }
    served = {f"{objective} from": str(time) for objective, time in _served(schedule).items()}
    terminal.table(f"schedule {name}", levels | served | ({"plot": str(plot)} if plot else {}))


def list_presets(terminal: Terminal, *, as_json: bool) -> None:
    """Names and titles of the paper's settings."""
    titles = {name: preset.title for name, preset in PRESETS.items()}
    if as_json:
        emit_json(titles)
    else:
        terminal.table("presets", titles)


def show_preset(name: str) -> None:
    """Print what a preset fixes, as YAML that a run's config may hold.

    Raises:
        ConfigError: There is none of that name.
    """
    preset = PRESETS[name]
    published = ", ".join(f"{figure} {value}" for figure, value in preset.published.items())
    print(f"# {preset.title}\n# Published: {published or 'no figure'}")
    print(yaml.safe_dump(fixed_by(preset), sort_keys=False), end="")


def _schedule_config(name: str, overrides: Sequence[str]) -> ScheduleConfig:
    if name in PRESETS:
        config = PRESETS[name].model.schedule
    elif name in SCHEDULES:
        config = ScheduleConfig(name=name)
    else:
        raise ConfigError(f"unknown schedule {name!r}; one of: {', '.join([*SCHEDULES, *PRESETS])}")
    own: dict[str, Any] = {field: getattr(config, field) for field in ScheduleConfig.__dataclass_fields__}
    for override in overrides:
        key, value = parse_override(override)
        target = own if key in own else own["options"]
        target |= {key: value}
    return ScheduleConfig(**own)


def _served(schedule: Schedule) -> dict[str, int | str]:
    """The time from which each objective can be sampled, or why it cannot."""
    served: dict[str, int | str] = {}
    for name, objective in OBJECTIVES.items():
        try:
            served[name] = objective().first_time(schedule)
        except ValueError as error:
            served[name] = str(error)
    return served


def _draw(schedule: Schedule, name: str, path: Path) -> None:
    if path.suffix not in {".png", ".svg", ".pdf"}:
        raise ConfigError(f"--plot {path}: expected a name that ends with .png, .svg or .pdf")
    picture = io.BytesIO()
    figures.plot_schedule(schedule, title=name).savefig(picture, format=path.suffix[1:], dpi=150)
    storage.publish_bytes(str(path), picture.getvalue())
