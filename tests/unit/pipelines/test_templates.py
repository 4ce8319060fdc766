from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.layouts import LAYOUTS
from pipelines.sources.name_templates import EXTENSIONS, MAX_NAME, Template, is_picture
from rddm.errors import ConfigError


@pytest.mark.parametrize(
    ("template", "path", "fields"),
    [
        ("{split}/low/{id}.{ext}", "train/low/1.PNG", {"split": "train", "id": "1", "ext": "PNG"}),
        ("{split}/low/{id}.{ext}", "train/low/a/1.png", None),
        ("{split}/low/{id}.{ext}", "train/low/1.gif", None),
        ("{split}/low/{id}.{ext}", "train/low/.png", None),
        ("{split}/low/{id}.{ext}", "train/low/1.png/", None),
        ("{split}/low/{id}.{ext}", "train/low/a.b.tiff", {"split": "train", "id": "a.b", "ext": "tiff"}),
        ("{id}_{level}.{ext}", "1_1_0.90179.png", {"id": "1", "level": "1_0.90179", "ext": "png"}),
        ("{id}_rain.{ext}", "a_rain_rain.jpg", {"id": "a_rain", "ext": "jpg"}),
        ("{id:[0-9]+}_{rest}.png", "12_x.png", {"id": "12", "rest": "x"}),
        ("{id:[0-9]+}_{rest}.png", "a12_x.png", None),
        ("{name}_{id:[0-9]{4}}.png", "a_b_0012.png", {"name": "a_b", "id": "0012"}),
        ("{split}/{split}_A/{id}.png", "train/train_A/1.png", {"split": "train", "id": "1"}),
        ("{split}/{split}_A/{id}.png", "train/test_A/1.png", None),
        ("{a}_{b}/{a}.png", "x_y_z/x_y.png", {"a": "x_y", "b": "z"}),
        ("{a}_{b}/{b}.png", "x_y_z/z.png", {"a": "x_y", "b": "z"}),
        ("{*}NOISY_{id}.png", "NOISY_1.png", {"id": "1"}),
        ("{*}NOISY_{id}.png", "0001_NOISY_1.png", {"id": "1"}),
        ("{*}NOISY_{id}.png", "a/NOISY_1.png", None),
        ("{*:clear|gt}/{id}.png", "gt/1.png", {"id": "1"}),
        ("{*:clear|gt}/{id}.png", "hazy/1.png", None),
        ("{**/}low/{id}.png", "low/1.png", {"id": "1"}),
        ("{**/}low/{id}.png", "a/b/low/1.png", {"id": "1"}),
        ("{**/}low/{id}.png", "a/slow/1.png", None),
        ("low/{**/}{id}.png", "low/a/b/1.png", {"id": "1"}),
        ("{**/}x/{**/}{id}.png", "x/x/x/1.png", {"id": "1"}),
        ("{split}/{id:.+}.{ext}", "train/a/b/1.png", {"split": "train", "id": "a/b/1", "ext": "png"}),
        ("a+b/{id}.png", "a+b/1.png", {"id": "1"}),
        ("a+b/{id}.png", "aab/1.png", None),
        ("{id}.png", "with\nbreak.png", {"id": "with\nbreak"}),
        ("caf\u00e9/{id}.png", "cafe\u0301/1.png", {"id": "1"}),
    ],
)
def test_a_template_matches_what_its_words_say(template: str, path: str, fields: dict[str, str] | None) -> None:
    assert Template.parse(template).match(path) == fields


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_extension_is_any_picture_s_in_any_case(extension: str) -> None:
    template = Template.parse("{id}.{ext}")
    for written in (extension, extension.upper(), extension.title()):
        assert template.match(f"1.{written}") == {"id": "1", "ext": written}
        assert is_picture(f"a/1.{written}")
    assert template.match(f"1.{extension}x") is None
    assert not is_picture(f"{extension}.txt")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("", "is empty"),
        ("{split}/low/{id.png", "has a { that is not closed"),
        ("{split}/low}/{id}.png", "has a } without its {"),
        ("{}/x.png", "neither a field nor"),
        ("{1d}.png", "neither a field nor"),
        ("{my id}.png", "neither a field nor"),
        ("{**}/x.png", "neither a field nor"),
        ("{id:}.png", "empty pattern"),
        ("{id:(}.png", "no regular expression"),
        ("{id:(?P<id>x)}.png", "no regular expression"),
        ("{id:[0-9]+}/{id:[a-z]+}.png", "two patterns"),
        ("{id}/{id:[a-z]+}.png", "two patterns"),
        ("low{**/}{id}.png", "inside a name"),
        ("/data/{id}.png", "does not begin below the root"),
        ("../{id}.png", "does not begin below the root"),
        ("./{id}.png", "does not begin below the root"),
        ("low\\{id}.png", "backslash"),
    ],
)
def test_a_wrong_template_is_refused_with_itself_and_an_example(template: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        Template.parse(template)
    assert repr(template) in str(caught.value)
    assert "expected something like {split}/low/{id}.{ext}" in str(caught.value)


def test_a_template_knows_its_fields_and_how_much_it_says() -> None:
    template = Template.parse("{**/}{split}/{scene}/{split}_{id}.{ext}")
    assert template.fields == ("split", "scene", "id", "ext")
    assert template.key_fields == ("scene", "id")
    assert template.literal_length == len("//_.")


def test_formatting_fills_the_fields_that_are_given() -> None:
    template = Template.parse("{**/}{split}/{scene}/{*}_{id:[0-9]+}.{ext}")
    assert template.format(split="train", id="7") == "train/{scene}/{*}_7.{ext}"


PIECES = st.sampled_from(
    ["{*}", "{**/}", "_", "-", "--", "/", "/x/", "x", "{split}", "{a}", "{b}", "{c}", "{a}", "{b:x+}", "{d:.+}"]
)


def lazily(template: Template) -> re.Pattern[str]:
    """The same template as the plainest regular expression says it, with no choice ever final."""
    seen: set[str] = set()
    written = ""
    for piece in template.pieces:
        if piece.kind == "text":
            written += re.escape(piece.text)
        elif piece.kind == "folders":
            written += "(?:[^/]+/)*?"
        elif piece.kind == "any":
            written += "[^/]*?"
        elif piece.text in seen:
            written += f"(?P={piece.text})"
        else:
            written += f"(?P<{piece.text}>{piece.pattern or '[^/]+?'})"
            seen.add(piece.text)
    return re.compile(written, re.DOTALL)


FILLED = st.fixed_dictionaries({name: st.text("x_-y", min_size=1, max_size=6) for name in ("split", *"abcd")})


@given(st.lists(PIECES, min_size=1, max_size=9), st.lists(st.text("x_-/y", max_size=9)), st.lists(FILLED, min_size=1))
def test_final_choices_change_no_match(pieces: list[str], names: list[str], filled: list[dict[str, str]]) -> None:
    try:
        template = Template.parse("".join(pieces))
    except ConfigError:
        return
    plain = lazily(template)
    for name in [*names, *(template.format(**fields) for fields in filled)]:
        found = plain.fullmatch(name)
        assert template.match(name) == (found.groupdict() if found else None)


@given(st.dictionaries(st.sampled_from(["split", "scene", "id"]), st.text("ab1. é", min_size=1), min_size=3))
def test_what_was_filled_in_is_read_again(fields: dict[str, str]) -> None:
    template = Template.parse("{split}/{scene}/{id}_rain.{ext}")
    assert template.match(template.format(**fields, ext="png")) == {**fields, "ext": "png"}


HOSTILE = [
    text * (10_000 // len(text))
    for text in ["_", "-", "x4", "NOISY_SRGB_", "_rain", "a/", "low/", "1_", ".png", "_A/", "hazy/"]
]
ODD = ("{a}_{b}_{c}_{d}_{e}.{ext}", "{**/}a/{**/}b/{**/}{c}.png", "{a}--{*}--{b}--{*}x{c}.png")


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_hostile_names_of_ten_kilobytes_take_no_time(name: str) -> None:
    """All templates of all layouts; quadratic ones would take seconds, cubic ones days."""
    layout = LAYOUTS[name]
    templates = [Template.parse(text) for text in (layout.degraded, layout.clean, layout.mask, *ODD) if text]
    start = time.perf_counter()
    for template in templates:
        for hostile in HOSTILE:
            for path in (hostile, f"{hostile}.png", f"train/{hostile}", f"{hostile}/train/{hostile}.jpg"):
                template.regex.fullmatch(path)  # `match` itself refuses such lengths
    assert time.perf_counter() - start < 20


def test_names_longer_than_any_file_system_s_match_nothing() -> None:
    template = Template.parse("{id}.png")
    assert template.match("a" * (MAX_NAME - 4) + ".png")
    assert template.match("a" * (MAX_NAME - 3) + ".png") is None
