from __future__ import annotations

import dataclasses
import io
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PreprocessConfig, SourceConfig
from pipelines.containers import Limits, SourceFile, read_file
from pipelines.sources import SOURCES, Found, find_pairs, survey, with_validation
from pipelines.sources.pairing import SourcePair
from rddm.errors import ConfigError, DataError, EmptyDatasetError
from tests.unit.pipelines.pictures import write_pairs

FOLDERS = SourceConfig(root="", degraded="{split}/low/{id}.{ext}", clean="{split}/high/{id}.{ext}")


def find(tmp_path: Path, source: SourceConfig) -> Found:
    return find_pairs(PreprocessConfig(source=source), scratch_uri=str(tmp_path / "scratch"))


def folders(root: Path, **changes: Any) -> SourceConfig:
    return dataclasses.replace(FOLDERS, root=str(root), **changes)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def contents(found: Found) -> dict[str, tuple[bytes, bytes]]:
    """What the files of the pairs hold, by key."""
    return {
        pair.key: (read_file(pair.root, pair.degraded, Limits()), read_file(pair.root, pair.clean, Limits()))
        for pair in found.pairs
        if pair.degraded
    }


def test_pairs_join_on_keys_whatever_order_and_extension(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["10", "2", "1"])
    write_pairs(tmp_path, ["2"], split="test")
    (tmp_path / "train/high/1.png").rename(tmp_path / "train/high/1.PNG")
    found = find(tmp_path, folders(tmp_path))
    assert [(pair.split, pair.key) for pair in found.pairs if pair.split == "test"] == [("test", "test/2")]
    stems = [(Path(pair.degraded.path).stem, Path(pair.clean.path).stem) for pair in found.pairs if pair.degraded]
    assert sorted(stems) == [("1", "1"), ("10", "10"), ("2", "2"), ("2", "2")]
    assert sum(pair.split == "val" for pair in found.pairs) == 1
    assert len({pair.key for pair in found.pairs}) == 4
    assert found.root == str(tmp_path)


def test_a_field_may_have_any_name(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2"])
    other = folders(tmp_path, degraded="{split}/low/{key}.{ext}", clean="{split}/high/{key}.{ext}")
    assert find(tmp_path, other) == find(tmp_path, folders(tmp_path))


def test_the_validation_split_does_not_move_when_others_join(tmp_path: Path) -> None:
    write_pairs(tmp_path, [str(n) for n in range(10)])
    before = {pair.clean for pair in find(tmp_path, folders(tmp_path)).pairs if pair.split == "val"}
    write_pairs(tmp_path, ["later"], split="test")
    assert {pair.clean for pair in find(tmp_path, folders(tmp_path)).pairs if pair.split == "val"} == before


def pair(key: str, clean: str, **tags: str) -> SourcePair:
    return SourcePair(
        key=f"train/{key}", split="train", root="r", degraded=SourceFile(f"d/{key}"), clean=SourceFile(clean), tags=tags
    )


def test_the_validation_split_is_that_of_earlier_releases() -> None:
    moved = [one.key for one in with_validation([pair(str(n), f"c/{n}") for n in range(40)], 0.1) if one.split == "val"]
    assert moved == ["val/14", "val/15", "val/32", "val/39"]


@pytest.mark.parametrize("by_scene", [False, True])
def test_pairs_that_show_one_thing_go_into_one_split(by_scene: bool) -> None:
    pairs = [
        pair(
            f"{scene}/{n}",
            f"c/{scene}/{n}" if by_scene else f"c/{scene}",
            **({"scene": str(scene)} if by_scene else {}),
        )
        for scene in range(20)
        for n in range(5)
    ]
    splits: dict[str, set[str]] = {}
    for one in with_validation(pairs, 0.2):
        splits.setdefault(one.key.split("/")[1], set()).add(one.split)
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"val"} for found in splits.values()) == 4


def test_a_source_with_a_validation_split_keeps_it(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2", "3"])
    write_pairs(tmp_path, ["4"], split="val")
    found = find(tmp_path, folders(tmp_path))
    assert [pair.key for pair in found.pairs] == ["train/1", "train/2", "train/3", "val/4"]


def test_orphans_are_named_with_the_place_of_their_partner(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2", "3"])
    (tmp_path / "train/high/2.png").unlink()
    (tmp_path / "train/low/3.png").unlink()
    found = find(tmp_path, folders(tmp_path))
    assert [orphan.name for orphan in found.quarantined] == ["train/high/3.png", "train/low/2.png"]
    assert "a clean picture at train/high/2.{ext}" in found.quarantined[1].expected


def test_split_folders_have_names_of_their_own(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2"], split="our485")
    with pytest.raises(ConfigError, match=r"'our485' is none of train, val, test; name it in data\.source"):
        find(tmp_path, folders(tmp_path))
    named = folders(tmp_path, split_names={"our485": "train"}, val_share=0.0)
    assert {pair.split for pair in find(tmp_path, named).pairs} == {"train"}
    assert (
        find(tmp_path, SourceConfig(layout="lol", root=str(tmp_path), val_share=0.0)).pairs
        == find(tmp_path, named).pairs
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"root": ""}, ConfigError, "data.source.root is empty"),
        ({"root": "missing"}, DataError, "missing does not exist"),
        ({"clean": "{split}/high/x.png"}, ConfigError, "no field that tells pictures apart"),
        ({"clean": "{split}/{scene}/{id}.png"}, ConfigError, "has {scene}, which the degraded"),
        ({"clean": "{split}/nothing/{id}.png"}, EmptyDatasetError, "1 pictures have no partner"),
        ({"kind": "paired_folder"}, ConfigError, "did you mean 'paired_folders'"),
        ({"layout": "lool"}, ConfigError, "did you mean 'lol'"),
    ],
)
def test_a_source_that_gives_nothing_says_why(
    tmp_path: Path, change: dict[str, str], error: type[Exception], message: str
) -> None:
    write_pairs(tmp_path, ["1"])
    with pytest.raises(error, match=re.escape(message)):
        find(tmp_path, dataclasses.replace(FOLDERS, **{"root": str(tmp_path), **change}))  # type: ignore[arg-type]


def test_a_wrong_layout_tells_what_is_there_and_the_right_one(tmp_path: Path) -> None:
    touch(tmp_path / "set", *(f"top/train/{side}/{n}.png" for side in ("input", "target") for n in range(4)))
    wrong = SourceConfig(layout="degraded_clean", root=str(tmp_path / "set"))
    with pytest.raises(EmptyDatasetError) as caught:
        find(tmp_path, wrong)
    message = str(caught.value)
    assert "'{split}/degraded/{id:.+}.{ext}' and '{split}/clean/{id:.+}.{ext}'" in message
    assert (
        "8 pictures match nothing, such as top/train/input/0.png, top/train/input/1.png, top/train/input/2.png"
        in message
    )
    assert "The layout input_target finds 4 pairs: set data.source.layout to it and data.source.root to" in message
    assert f"{tmp_path}/set/top" in message
    found = survey(PreprocessConfig(source=wrong), scratch_uri="")
    assert (len(found.pairs), len(found.unmatched), len(found.listed)) == (0, 8, 8)


def test_two_files_with_one_key_are_set_aside_and_the_run_goes_on(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["1", "2", "3"])
    (tmp_path / "train/low/1.jpg").write_bytes(b"")
    found = find(tmp_path, folders(tmp_path))
    assert {pair.key.split("/")[1] for pair in found.pairs} == {"2", "3"}
    assert [record.name for record in found.quarantined] == ["train/high/1.png", "train/low/1.jpg", "train/low/1.png"]


def test_a_folder_of_clean_pictures_makes_pairs_without_partners(tmp_path: Path) -> None:
    touch(tmp_path, "train/high/1.png", "train/high/2.png", "train/mask/1.png", "train/mask/2.png")
    source = SourceConfig(
        kind="clean_folder", root=str(tmp_path), clean="{split}/high/{id}.{ext}", mask="{split}/mask/{id}.{ext}"
    )
    found = find(tmp_path, source)
    assert {pair.degraded for pair in found.pairs} == {None}
    assert {pair.mask and pair.mask.path for pair in found.pairs} == {"train/mask/1.png", "train/mask/2.png"}


def test_the_sample_photographs_keep_scenes_apart(tmp_path: Path) -> None:
    found = find(tmp_path, SourceConfig(kind="sample_photographs"))
    splits = {pair.key.split("/")[1]: pair.split for pair in found.pairs}
    assert splits["motorcycle_left"] == splits["motorcycle_right"]
    assert list(dict.fromkeys(pair.split for pair in found.pairs)) == ["train", "val", "test"]
    assert all((Path(pair.root) / pair.clean.path).is_file() for pair in found.pairs)


def test_unpaired_folders_are_listed_like_others(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "trainA/1.png",
        "trainA/2.png",
        "trainA/3.png",
        "trainB/x.png",
        "trainB/y.png",
        "testA/1.png",
        "testB/z.png",
    )
    found = find(tmp_path, SourceConfig(layout="unpaired", root=str(tmp_path), val_share=0.4))
    assert {pair.split for pair in found.pairs} == {"train", "val", "test"}
    sides: list[dict[str, set[str]]] = [{pair.split: set() for pair in found.pairs} for _ in range(2)]
    for pair in found.pairs:
        assert pair.degraded is not None
        sides[0][pair.split].add(pair.degraded.path)
        sides[1][pair.split].add(pair.clean.path)
    for side in sides:
        assert not side["train"] & side["val"]


def archive(kind: str, path: Path, names: list[str]) -> None:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.writestr(name, name)
        return
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as packed_tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            packed_tar.addfile(info, io.BytesIO(name.encode()))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_give_the_pairs_of_the_folder_that_was_packed(tmp_path: Path, kind: str) -> None:
    names = [f"train/{side}/{n}.png" for n in (3, 1, 2) for side in ("low", "high")]
    touch(tmp_path / "set", *names, "train/low/alone.png")
    archive(kind, tmp_path / f"set.{kind}", [*reversed(names), "train/low/alone.png"])
    packed, plain = find(tmp_path, folders(tmp_path / f"set.{kind}")), find(tmp_path, folders(tmp_path / "set"))
    assert contents(packed) == contents(plain)
    assert {key: low.decode().split("/")[1] for key, (low, _) in contents(packed).items()}.keys() == contents(
        plain
    ).keys()
    assert [pair.key for pair in packed.pairs] == [pair.key for pair in plain.pairs]
    assert packed.quarantined == plain.quarantined
    assert all(pair.root == packed.root for pair in packed.pairs)


LIST = "degraded,clean,mask,split,key,camera\na/1.png,b/one.png,m/1.png,train,eins,Canon\na/2.png,b/two.png,,test,,\n"


def listed(tmp_path: Path, text: str | bytes, **changes: Any) -> SourceConfig:
    path = tmp_path / "lists" / "pairs.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return SourceConfig(**{"layout": "pair_list", "pairs_uri": str(path), "root": "/data", "val_share": 0.0, **changes})


def test_a_list_names_pairs_masks_splits_keys_and_tags(tmp_path: Path) -> None:
    found = find(tmp_path, listed(tmp_path, LIST))
    assert found.pairs == (
        SourcePair(
            key="train/eins",
            split="train",
            root="/data",
            degraded=SourceFile("a/1.png"),
            clean=SourceFile("b/one.png"),
            mask=SourceFile("m/1.png"),
            tags={"camera": "Canon"},
        ),
        SourcePair(
            key="test/a/2", split="test", root="/data", degraded=SourceFile("a/2.png"), clean=SourceFile("b/two.png")
        ),
    )
    assert not found.quarantined


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lists_of_other_programs_are_read(tmp_path: Path, delimiter: str) -> None:
    text = "\ufeff" + LIST.replace(",", delimiter).replace("\n", "\r\n") + "\r\n"
    assert find(tmp_path, listed(tmp_path, text)).pairs == find(tmp_path, listed(tmp_path, LIST)).pairs


def test_paths_of_a_list_are_below_its_own_folder_where_no_root_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "lists", "1.png", "2.png")
    found = find(tmp_path, listed(tmp_path, "degraded,clean\n1.png,2.png\n", root=""))
    assert contents(found) == {"train/1": (b"1.png", b"2.png")}


def test_a_list_may_name_files_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.png", "set/2.png")
    text = f"degraded,clean\n{tmp_path}/elsewhere/1.png,2.png\ns3://bucket/a/3.png,2.png\n"
    found = find(tmp_path, listed(tmp_path, text, root=str(tmp_path / "set")))
    first, second = found.pairs
    assert second.key == f"train{tmp_path}/elsewhere/1"
    assert first.key == "train/bucket/a/3"
    assert second.degraded is not None
    assert read_file(second.root, second.degraded, Limits()) == b"elsewhere/1.png"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_list_may_name_members_of_an_archive(tmp_path: Path, kind: str) -> None:
    archive(kind, tmp_path / f"set.{kind}", ["a/1.png", "b/one.png"])
    found = find(tmp_path, listed(tmp_path, "degraded,clean\na/1.png,b/one.png\n", root=str(tmp_path / f"set.{kind}")))
    assert contents(found) == {"train/a/1": (b"a/1.png", b"b/one.png")}


def test_parts_of_one_file_are_told_by_the_config(tmp_path: Path) -> None:
    halves = listed(tmp_path, "degraded,clean\n1.png,1.png\n", degraded_part="left", clean_part="right")
    (both,) = find(tmp_path, halves).pairs
    assert (both.degraded, both.clean) == (SourceFile("1.png", part="left"), SourceFile("1.png", part="right"))


def test_bad_lines_are_set_aside_with_their_numbers(tmp_path: Path) -> None:
    lines = [
        b"degraded,clean,split,key",
        b"1.png,a.png,train,1",
        b"2.png,a.png,train",  # 3
        b"",
        b",a.png,train,3",  # 5
        b"4.png,,train,4",
        b"../5.png,a.png,train,5",
        b"6.png,a.png,trian,6",  # 8
        b"7.png,a.png,train,same",
        b"8.png,a.png,train,same",  # 10
        b"\xff9.png,a.png,train,9",
        b'"10.png,a.png"x,train,10',  # 12
        b"11.png,a.png,left_out,11",
        b"12.png,a.png,,12",
    ]
    found = find(tmp_path, listed(tmp_path, b"\n".join(lines), split_names={"left_out": "skip"}))
    assert [pair.key for pair in found.pairs] == ["train/1", "train/12"]
    reasons = {int(record.name.rpartition(":")[2]): record.reason for record in found.quarantined}
    assert list(reasons) == [3, 5, 6, 7, 8, 9, 10, 11, 12]
    assert reasons[3].startswith("it has 3 cells, not 4")
    assert reasons[5].startswith("it names no degraded picture")
    assert reasons[6].startswith("it names no clean picture")
    assert reasons[7].startswith("../5.png leads out of the root")
    assert reasons[8].startswith("its split 'trian' is none of train, val, test")
    assert reasons[9].startswith("the lines 9, 10 have one key, train/same")
    assert reasons[11].startswith("it holds bytes that are not UTF-8")
    assert reasons[12].startswith("it is no CSV")
    assert all(record.name.startswith(str(tmp_path)) for record in found.quarantined)


@pytest.mark.parametrize("text", ["", "1.png,2.png\n", "degraded\n1.png\n", "degraded,clean,clean\n1,2,3\n"])
def test_a_list_without_its_column_names_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"pairs\.csv begins with the line .*expected column names"):
        find(tmp_path, listed(tmp_path, text))


def test_an_empty_or_missing_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="No pair below /data"):
        find(tmp_path, listed(tmp_path, "degraded,clean\n"))
    with pytest.raises(DataError, match=r"missing\.csv"):
        find(tmp_path, listed(tmp_path, "", pairs_uri=str(tmp_path / "missing.csv")))


def test_every_kind_of_source_says_what_it_is() -> None:
    assert list(SOURCES) == ["paired_folders", "clean_folder", "unpaired_folders", "pair_list", "sample_photographs"]
    assert all(source.__doc__ for _, source in SOURCES.items())


def test_real_low_light_pairs_are_found(shared: Path, tmp_path: Path) -> None:
    found = find(tmp_path, SourceConfig(layout="lol", root=str(shared / "data" / "lowlight"), val_share=0.05))
    count = {split: sum(pair.split == split for pair in found.pairs) for split in ("train", "val", "test")}
    assert count == {"train": 95, "val": 5, "test": 15}
    assert not found.quarantined
    assert not found.unmatched


@pytest.mark.parametrize(
    ("name", "settings", "pairs"),
    [
        ("polyu", {"degraded": "real/{id}.{ext}", "clean": "mean/{id}.{ext}"}, 100),
        ("raindrop", {"degraded": "rain_image/{id}.{ext}", "clean": "clean_image/{id}.{ext}"}, 4),
        ("kodak24", {"layout": "clean_folder"}, 24),
    ],
)
def test_other_real_pictures_are_found(
    shared: Path, tmp_path: Path, name: str, settings: dict[str, str], pairs: int
) -> None:
    found = find(tmp_path, SourceConfig(root=str(shared / "data" / name), **settings))  # type: ignore[arg-type]
    assert len(found.pairs) == pairs
    assert not found.quarantined
