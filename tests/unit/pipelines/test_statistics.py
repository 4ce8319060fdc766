from __future__ import annotations

import io
import json
import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import schema
from pipelines.dataset.statistics import plot, summarise


def table(*rows: dict[str, Any]) -> pa.Table:
    whole = {
        "image_key": "k",
        "split": "train",
        "height_px": 40,
        "width_px": 60,
        "bit_depth": 8,
        "psnr_db": 10.0,
        "ssim": 0.5,
        "degraded_brightness": 0.1,
        "clean_brightness": 0.4,
    }
    return pa.Table.from_pylist([whole | row for row in rows], schema=schema.STATISTICS)


def varied(count: int, split: str = "train") -> list[dict[str, Any]]:
    draw = np.random.default_rng(count)
    return [
        {
            "split": split,
            "psnr_db": float(draw.normal(20, 3)),
            "ssim": float(draw.uniform(0.3, 0.9)),
            "degraded_brightness": float(draw.uniform(0, 0.4)),
            "clean_brightness": float(draw.uniform(0.3, 0.9)),
            "width_px": int(draw.integers(30, 90)),
        }
        for _ in range(count)
    ]


def test_mean_median_and_range_are_those_of_the_split_s_pictures() -> None:
    rows = [{"psnr_db": value, "height_px": height} for value, height in ((10.0, 30), (12.0, 50), (17.0, 40))]
    summary = summarise(table(*rows, {"split": "test", "psnr_db": 30.0, "width_px": 99}))
    train, test = summary["train"], summary["test"]
    assert [train[f"psnr_db_{part}"] for part in ("mean", "median", "min", "max")] == [13.0, 12.0, 10.0, 17.0]
    assert (train["height_px_min"], train["height_px_max"]) == (30.0, 50.0)
    assert test["psnr_db_median"] == 30.0
    assert test["width_px_min"] == test["width_px_max"] == 99.0


def test_splits_without_pictures_are_left_out_and_the_others_stand_in_their_order() -> None:
    assert list(summarise(table({"split": "test"}, {"split": "train"}))) == ["train", "test"]
    assert summarise(schema.STATISTICS.empty_table()) == {}


def test_nulls_are_no_part_of_a_figure_and_a_figure_without_values_is_left_out() -> None:
    summary = summarise(table({"psnr_db": None, "ssim": None}, {"psnr_db": 20.0, "ssim": None}))["train"]
    assert summary["psnr_db_mean"] == summary["psnr_db_min"] == 20.0
    assert not [name for name in summary if name.startswith("ssim")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(schema.SPLITS),
            st.none() | st.floats(0, 100),
            st.none() | st.floats(-1, 1) | st.sampled_from([math.nan, math.inf, -math.inf]),
        ),
        max_size=6,
    )
)
def test_every_figure_is_finite_and_survives_json(rows: list[tuple[str, float | None, float | None]]) -> None:
    values = table(*({"split": split, "psnr_db": psnr, "ssim": ssim} for split, psnr, ssim in rows))
    summary = summarise(values)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert all(type(figure) is float and math.isfinite(figure) for part in summary.values() for figure in part.values())
    for part in summary.values():
        for name in {key.removesuffix("_mean") for key in part if key.endswith("_mean")}:
            assert part[f"{name}_min"] <= part[f"{name}_median"] <= part[f"{name}_max"]


def test_the_plot_is_the_same_png_for_the_same_table_whatever_the_user_s_matplotlib_style() -> None:
    values = table(*varied(40), *varied(5, "test"))
    first = plot(values, title="Pairs")
    with mpl.rc_context({"figure.facecolor": "black", "savefig.dpi": 37, "font.size": 30, "axes.grid": False}):
        assert plot(values, title="Pairs") == first
        assert mpl.rcParams["font.size"] == 30, "the user's style is left alone"
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.size == (1200, 720)
        assert set(picture.info) <= {"dpi"}, "no date and no version of anything"


@pytest.mark.parametrize("title", ["", "$x_{", "\\frac", "two\nlines\x00\x1b[31m", "写真", "long " * 100])
def test_any_title_can_be_drawn(title: str) -> None:
    assert plot(table({}), title=title).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "values",
    [
        schema.STATISTICS.empty_table(),
        table({}),
        table({"psnr_db": None, "ssim": None}, {"psnr_db": None, "ssim": None, "split": "val"}),
        table({"degraded_brightness": 0.0, "clean_brightness": 1.0}),
    ],
    ids=["no picture", "one picture", "nothing to compare", "black and white"],
)
def test_poor_tables_can_be_drawn(values: pa.Table) -> None:
    assert plot(values, title="Pairs").startswith(b"\x89PNG")


def test_each_split_is_seen_in_the_plot() -> None:
    alone, both = (table(*rows) for rows in (varied(40), varied(40) + varied(3, "test")))
    assert plot(alone, title="Pairs") != plot(both, title="Pairs")
