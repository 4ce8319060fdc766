from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import SourceConfig
from pipelines.containers import SourceFile
from pipelines.sources.pairing import Joined, couple, held_out, join
from pipelines.sources.sides import is_ignored
from rddm.errors import ConfigError

LOW_HIGH = {"degraded": "{split}/low/{id}.{ext}", "clean": "{split}/high/{id}.{ext}"}
HAZE = {"degraded": "{split}/hazy/{id}_{haze}.{ext}", "clean": "{split}/clear/{id}.{ext}"}


def source(**changes: Any) -> SourceConfig:
    return SourceConfig(root="r", **{**LOW_HIGH, **changes})


def files(*paths: str) -> list[SourceFile]:
    return [SourceFile(path, size_bytes=len(path)) for path in paths]


def partners(joined: Joined) -> dict[str, tuple[str | None, str, str | None]]:
    return {
        pair.key: (pair.degraded and pair.degraded.path, pair.clean.path, pair.mask and pair.mask.path)
        for pair in joined.pairs
    }


def reasons(joined: Joined) -> dict[str, str]:
    assert [record.name for record in joined.quarantined] == sorted(record.name for record in joined.quarantined)
    return {record.name: record.reason for record in joined.quarantined}


def test_pictures_pair_by_key_whatever_their_extensions() -> None:
    joined = join(files("train/low/1.png", "train/high/1.JPG", "test/low/1.tif", "test/high/1.bmp"), source())
    assert partners(joined) == {
        "train/1": ("train/low/1.png", "train/high/1.JPG", None),
        "test/1": ("test/low/1.tif", "test/high/1.bmp", None),
    }
    assert not joined.quarantined
    first = joined.pairs[0]
    assert (first.split, first.root, first.tags, first.clean.size_bytes) == ("train", "r", {}, len("train/high/1.JPG"))


def test_pairs_come_by_split_and_then_by_key() -> None:
    names = [
        f"{split}/{side}/{n}.png" for split in ("val", "test", "train") for n in (10, 9, 1) for side in ("low", "high")
    ]
    keys = [pair.key for pair in join(files(*names), source()).pairs]
    assert keys == [f"{split}/{n}" for split in ("train", "val", "test") for n in (1, 10, 9)]


def test_several_degraded_pictures_share_one_clean_one() -> None:
    joined = join(
        files(
            "train/hazy/1_1_0.9.png",
            "train/hazy/1_2_0.9.png",
            "train/hazy/2_1_0.9.png",
            "train/clear/1.jpg",
            "train/clear/3.jpg",
        ),
        source(**HAZE),
    )
    assert partners(joined) == {
        "train/1/1_0.9": ("train/hazy/1_1_0.9.png", "train/clear/1.jpg", None),
        "train/1/2_0.9": ("train/hazy/1_2_0.9.png", "train/clear/1.jpg", None),
    }
    assert joined.pairs[0].tags == {"id": "1", "haze": "1_0.9"}
    assert reasons(joined) == {
        "train/clear/3.jpg": "it has no partner; expected a degraded picture at train/hazy/3_{haze}.{ext}; "
        "add it, or leave this file out",
        "train/hazy/2_1_0.9.png": "it has no partner; expected a clean picture at train/clear/2.{ext}; "
        "add it, or leave this file out",
    }


def test_splits_may_share_clean_pictures() -> None:
    joined = join(
        files("train/1_a.png", "test/1_b.png", "clean/1.png"),
        source(degraded="{split}/{id}_{n}.png", clean="clean/{id}.png"),
    )
    assert partners(joined) == {
        "train/1/a": ("train/1_a.png", "clean/1.png", None),
        "test/1/b": ("test/1_b.png", "clean/1.png", None),
    }


def test_sides_without_splits_are_for_training() -> None:
    joined = join(files("a/1.png", "b/1.png"), source(degraded="a/{id}.png", clean="b/{id}.png"))
    assert list(partners(joined)) == ["train/1"]


def test_fields_join_by_name_not_by_place() -> None:
    joined = join(files("a/x/1.png", "b/1/x.png"), source(degraded="a/{scene}/{id}.png", clean="b/{id}/{scene}.png"))
    assert partners(joined) == {"train/x/1": ("a/x/1.png", "b/1/x.png", None)}
    assert joined.pairs[0].tags == {"scene": "x", "id": "1"}


def test_a_field_that_spans_folders_keeps_them_in_the_key() -> None:
    spanning = source(degraded="{split}/hazy/{id:.+}_{haze}.png", clean="{split}/clear/{id:.+}.png")
    joined = join(files("train/hazy/a/b/1_x.png", "train/clear/a/b/1.png", "train/clear/b/1.png"), spanning)
    assert partners(joined) == {"train/a/b/1/x": ("train/hazy/a/b/1_x.png", "train/clear/a/b/1.png", None)}
    assert joined.pairs[0].tags == {"id": "a/b/1", "haze": "x"}
    assert list(reasons(joined)) == ["train/clear/b/1.png"]


def test_masks_complete_a_triple_and_a_pair_without_one_is_set_aside() -> None:
    joined = join(
        files(
            "train/low/1.png",
            "train/high/1.png",
            "train/mask/1.png",
            "train/low/2.png",
            "train/high/2.png",
            "train/mask/3.png",
        ),
        source(mask="{split}/mask/{id}.{ext}"),
    )
    assert partners(joined) == {"train/1": ("train/low/1.png", "train/high/1.png", "train/mask/1.png")}
    assert {name: reason.partition(";")[0] for name, reason in reasons(joined).items()} == {
        "train/low/2.png": "it has no mask",
        "train/mask/3.png": "it has no partner",
    }


def test_one_mask_may_serve_all_pictures() -> None:
    joined = join(
        files("train/low/1.png", "train/high/1.png", "test/low/2.png", "test/high/2.png", "hole.png"),
        source(mask="hole.png"),
    )
    assert {mask for _, _, mask in partners(joined).values()} == {"hole.png"}
    assert len(joined.pairs) == 2
    assert not joined.quarantined


def test_clean_pictures_alone_make_pairs_of_their_own() -> None:
    joined = join(files("train/high/1.png", "train/low/1.png"), source(degraded=""))
    assert partners(joined) == {"train/1": (None, "train/high/1.png", None)}
    assert joined.unmatched == ("train/low/1.png",)


def test_files_with_one_key_are_set_aside_and_their_partner_with_them() -> None:
    names = [
        "train/low/1.jpg",
        "train/low/1.png",
        "train/high/1.png",
        "train/low/2.png",
        "train/high/2.png",
        "train/high/2.bmp",
    ]
    joined = join(files(*names), source())
    assert not joined.pairs
    assert sorted(reasons(joined)) == sorted(names)
    assert reasons(joined)["train/low/1.png"] == (
        "train/low/1.jpg has the same key, train/1; expected one file of each key ({split}/low/{id}.{ext}); "
        "keep one of them, or make what tells them apart a field of the template"
    )
    assert reasons(joined)["train/high/1.png"].startswith("several files could be its degraded picture")
    assert reasons(joined)["train/low/2.png"].startswith("several files could be its clean picture")


def test_folders_that_become_one_split_must_not_hold_the_same_keys() -> None:
    twice = source(split_names={"test_a": "test", "test_b": "test"})
    joined = join(files(*(f"test_{part}/{side}/0.png" for part in "ab" for side in ("low", "high"))), twice)
    assert not joined.pairs
    assert "test_b/low/0.png has the same key, test/0" in reasons(joined)["test_a/low/0.png"]


def test_a_folder_may_be_left_out() -> None:
    skipping = source(split_names={"test_a": "test", "test_b": "skip"})
    joined = join(files(*(f"test_{part}/{side}/0.png" for part in "ab" for side in ("low", "high"))), skipping)
    assert partners(joined) == {"test/0": ("test_a/low/0.png", "test_a/high/0.png", None)}
    assert not joined.quarantined
    assert not joined.unmatched


def test_unknown_split_folders_are_all_named() -> None:
    names = [f"{split}/{side}/0.png" for split in ("our485", "train", "eval15") for side in ("low", "high")]
    with pytest.raises(
        ConfigError, match=r"folder 'eval15', 'our485' is none of train, val, test; name it in data\.sou"
    ):
        join(files(*names), source())


def test_one_file_may_hold_both_pictures() -> None:
    halves = source(degraded="{split}/{id}.png", clean="{split}/{id}.png", degraded_part="right", clean_part="left")
    (pair,) = join(files("train/1.png"), halves).pairs
    assert pair.degraded == SourceFile("train/1.png", len("train/1.png"), part="right")
    assert pair.clean == SourceFile("train/1.png", len("train/1.png"), part="left")
    doubled = join(
        files("train/1.png", "train/2.png"),
        source(
            **{
                **LOW_HIGH,
                "degraded": "{split}/{id}.{ext}",
                "clean": "{split}/{id}.{ext}",
                "degraded_part": "top",
                "clean_part": "bottom",
            }
        ),
    )
    assert len(doubled.pairs) == 2


def test_a_file_that_fits_two_templates_belongs_to_the_one_that_says_more() -> None:
    beside = source(degraded="{id}.png", clean="{id}_clean.png")
    joined = join(files("1.png", "1_clean.png"), beside)
    assert partners(joined) == {"train/1": ("1.png", "1_clean.png", None)}
    assert not joined.quarantined


def test_composed_and_decomposed_names_are_the_same() -> None:
    joined = join(files("train/low/caf\u00e9.png", "train/high/cafe\u0301.png"), source())
    assert [pair.key for pair in joined.pairs] == ["train/caf\u00e9"]
    assert joined.pairs[0].clean.path == "train/high/cafe\u0301.png"


@pytest.mark.parametrize("name", ["._1.png", "train/low/._1.png", "__MACOSX/train/low/1.png", "low/@eaDir/1.png/x.png"])
def test_other_programs_notes_are_not_looked_at(name: str) -> None:
    assert is_ignored(name)
    joined = join(files(name), source(degraded="", clean="{**/}{id}.{ext}"))
    assert joined == Joined()


def test_pictures_that_fit_nothing_are_told() -> None:
    joined = join(files("b.png", "readme.txt", "a/x.JPG", "train/low/1.png", "train/high/1.png"), source())
    assert joined.unmatched == ("a/x.JPG", "b.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clean": "{split}/high/{scene}/{id}.png"},
            r"has \{scene\}, which the degraded template .* has not; write \{\*\}",
        ),
        ({"degraded": "low/{id}.png"}, r"the clean template '.*' has \{split\}, which the degraded"),
        ({"mask": "{split}/{id}_{n}.png"}, r"the mask template .* has \{n\}"),
        ({"clean": "{split}/high/x.png"}, "the clean template .* has no field that tells pictures apart"),
        ({"degraded": "{split}/{*}.{ext}"}, "the degraded template .* has no field that tells pictures apart"),
        ({"clean": LOW_HIGH["degraded"]}, "each picture would be its own partner; set data.source.degraded_part"),
        ({"clean": "{split"}, "not closed"),
    ],
)
def test_templates_that_cannot_be_joined_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        join([], source(**changes))


@st.composite
def listings(draw: st.DrawFn) -> list[str]:
    """Names with orphans, doubles and strangers among them."""
    some = st.lists(st.sampled_from("abcdef"), unique=True)
    names = []
    for split in ("train", "test"):
        names += [f"{split}/hazy/{key}_{haze}.png" for key in draw(some) for haze in draw(some)]
        names += [f"{split}/hazy/{key}_a.jpg" for key in draw(some)]
        names += [f"{split}/clear/{key}.png" for key in draw(some)]
        names += [f"{split}/clear/{key}.tif" for key in draw(some)]
        names += [f"{split}/mask/{key}.png" for key in draw(some)]
        names += [f"{split}/other/{key}.png" for key in draw(some)]
    return names


@given(listings(), st.randoms(use_true_random=False), st.sampled_from(["", "{split}/mask/{id}.png"]))
def test_nothing_depends_on_the_order_and_every_file_is_accounted_for(
    names: list[str], order: random.Random, mask: str
) -> None:
    config = source(**HAZE, mask=mask)
    joined = join(files(*names), config)
    shuffled = list(names)
    order.shuffle(shuffled)
    assert join(files(*shuffled), config) == joined
    paired = {file.path for pair in joined.pairs for file in (pair.degraded, pair.clean, pair.mask) if file}
    set_aside = [record.name for record in joined.quarantined]
    assert len(set_aside) == len(set(set_aside))
    assert not paired & set(set_aside)
    unaccounted = set(names) - paired - set(set_aside) - set(joined.unmatched)
    # A clean picture or a mask goes unused without a record of its own only where its degraded one has one.
    assert all(name.split("/")[1] in {"clear", "mask"} for name in unaccounted)
    for name in unaccounted:
        key = name.rpartition("/")[2].partition(".")[0]
        split = name.partition("/")[0]
        assert any(other.startswith(f"{split}/hazy/{key}_") for other in set_aside)
    assert len({pair.key for pair in joined.pairs}) == len(joined.pairs)


def test_the_join_is_linear() -> None:
    """A quadratic one would compare ten thousand million keys here."""
    n = 100_000
    names = [f"train/low/{i}.png" for i in range(n)] + [f"train/high/{i}.jpg" for i in range(n)]
    assert len(join(map(SourceFile, names), source()).pairs) == n


UNPAIRED = {"degraded": "{split}A/{id}.png", "clean": "{split}B/{id}.png", "kind": "unpaired_folders"}


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 0.9))
def test_unpaired_rows_use_every_picture_and_keep_the_splits_apart(ours: int, theirs: int, share: float) -> None:
    names = (
        [f"trainA/a{i}.png" for i in range(ours)]
        + [f"trainB/b{i}.png" for i in range(theirs)]
        + ["testA/x.png", "testB/y.png"]
    )
    joined = couple(files(*names), source(**UNPAIRED, val_share=share))
    assert len({pair.key for pair in joined.pairs}) == len(joined.pairs)
    used: dict[str, set[str]] = {}
    for pair in joined.pairs:
        assert pair.key.startswith(f"{pair.split}/")
        assert pair.degraded is not None
        used.setdefault(pair.split, set()).update((pair.degraded.path, pair.clean.path))
    assert not joined.quarantined
    assert used["train"] | used.get("val", set()) | used["test"] == set(names)
    assert not used["train"] & used.get("val", set())
    assert ("val" in used) == (share > 0 and ours > 1 and theirs > 1)
    assert partners(joined)["test/y"] == ("testA/x.png", "testB/y.png", None)
    shuffled = list(names)
    random.Random(ours).shuffle(shuffled)
    assert couple(files(*shuffled), source(**UNPAIRED, val_share=share)) == joined


def test_the_smaller_side_of_unpaired_pictures_begins_anew() -> None:
    joined = couple(
        files("trainA/1.png", "trainA/2.png", "trainA/3.png", "trainB/1.png", "trainB/2.png"),
        source(**UNPAIRED, val_share=0.0),
    )
    assert partners(joined) == {
        "train/1": ("trainA/1.png", "trainB/1.png", None),
        "train/2": ("trainA/2.png", "trainB/2.png", None),
        "train/3": ("trainA/3.png", "trainB/1.png", None),
    }


def test_a_split_with_one_side_only_is_set_aside() -> None:
    joined = couple(files("trainA/1.png", "trainB/1.png", "testA/2.png"), source(**UNPAIRED, val_share=0.0))
    assert list(partners(joined)) == ["train/1"]
    assert "the other side has no picture of the split test" in reasons(joined)["testA/2.png"]


def test_unpaired_pictures_have_no_masks() -> None:
    with pytest.raises(ConfigError, match="no masks"):
        couple([], source(**UNPAIRED, mask="{split}M/{id}.png"))


@given(st.sets(st.text(max_size=5), max_size=40), st.floats(0, 0.99))
def test_what_is_held_out_is_a_share_and_never_all(keys: set[str], share: float) -> None:
    held = held_out(keys, share)
    assert held <= keys
    assert held_out(sorted(keys), share) == held
    if share and len(keys) > 1:
        assert 1 <= len(held) < len(keys)
        assert abs(len(held) - share * len(keys)) <= 1
    else:
        assert not held
