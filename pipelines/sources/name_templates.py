"""Templates of file names, such as `{split}/{scene}/{id}_rain.{ext}`: what they match, and what their fields hold.

| part | matches |
|---|---|
| `{name}` | one or more characters other than `/`; the shortest that lets the whole template fit |
| `{name:REGEX}` | what the regular expression says: `{id:[0-9]+}`, or `{id:.+}`, which spans folders |
| `{split}` | the split, or a folder name that `split_names` translates |
| `{ext}` | the extension of a picture, in any case |
| `{*}` | any characters other than `/`, perhaps none; it is no field. `{*:REGEX}` restricts it |
| `{**/}` | any number of folders, perhaps none |

A field that occurs twice holds the same text. Everything else stands for itself. Names are compared in Unicode's
composed form, in which file systems and archives differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rddm.errors import ConfigError

EXTENSIONS = ("png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp")
MAX_NAME = 4096
"""Longest name that is matched, in characters: the longest path that Linux opens; S3 keys end at 1024 bytes."""
_EXTENSION = f"(?ai:{'|'.join(EXTENSIONS)})"


class _Piece(NamedTuple):
    """A part of a template; `text` is the literal text or the field's name."""

    kind: Literal["text", "field", "any", "folders"]
    text: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that has been read.

    Attributes:
        text: As it was written.
        pieces: What it consists of.
        regex: Matches whole names.
        fields: Names of its fields, in the order of their first occurrence.
    """

    text: str
    pieces: tuple[_Piece, ...]
    regex: re.Pattern[str]
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template.

        Raises:
            ConfigError: It is not well formed; the message shows it and what was expected.
        """
        pieces = tuple(_pieces(composed(text), text))
        _check(pieces, text)
        fields = tuple(dict.fromkeys(piece.text for piece in pieces if piece.kind == "field"))
        try:
            regex = re.compile(_regex(pieces), re.DOTALL)
        except re.error as error:
            raise _wrong(text, f"has a pattern that is no regular expression ({error})") from None
        return cls(text, pieces, regex, fields)

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields that pairs are joined on, beside the split."""
        return tuple(name for name in self.fields if name not in {"split", "ext"})

    @property
    def literal_length(self) -> int:
        """Characters that stand for themselves: of two templates that fit, the one with more says more."""
        return sum(len(piece.text) for piece in self.pieces if piece.kind == "text")

    def match(self, path: str) -> dict[str, str] | None:
        """What the fields hold, or None where the name does not fit; the time is proportional to its length."""
        if len(path) > MAX_NAME:
            return None
        found = self.regex.fullmatch(composed(path))
        return found.groupdict() if found else None

    def format(self, **fields: str) -> str:
        """The template with some fields filled; the others stand as they are, and `{**/}` becomes no folder."""
        return "".join(_shown(piece, fields) for piece in self.pieces)


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_picture(path: str) -> bool:
    """Whether a name ends like a picture's."""
    return path.rpartition(".")[2].lower() in EXTENSIONS


def _shown(piece: _Piece, fields: Mapping[str, str]) -> str:
    if piece.kind == "field":
        return fields.get(piece.text, f"{{{piece.text}}}")
    return "{*}" if piece.kind == "any" else piece.text


def _wrong(text: str, what: str) -> ConfigError:
    return ConfigError(f"the template {text!r} {what}; expected something like {{split}}/low/{{id}}.{{ext}}")


def _pieces(text: str, shown: str) -> Iterator[_Piece]:
    at = 0
    while at < len(text):
        opening = text.find("{", at)
        literal = text[at:] if opening < 0 else text[at:opening]
        if "}" in literal:
            raise _wrong(shown, "has a } without its {")
        if literal:
            yield _Piece("text", literal)
        if opening < 0:
            return
        at = _closing(text, opening, shown) + 1
        yield _braced(text[opening + 1 : at - 1], shown)


def _closing(text: str, opening: int, shown: str) -> int:
    """Where a brace is closed; patterns such as `[0-9]{4}` have braces of their own."""
    depth = 0
    for index in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if not depth:
            return index
    raise _wrong(shown, "has a { that is not closed")


def _braced(inside: str, shown: str) -> _Piece:
    if inside == "**/":
        return _Piece("folders", "")
    name, colon, pattern = inside.partition(":")
    if colon and not pattern:
        raise _wrong(shown, f"has an empty pattern in {{{inside}}}")
    if name == "*":
        return _Piece("any", "", pattern)
    if not (name.isidentifier() and name.isascii()):
        raise _wrong(shown, f"has {{{inside}}}, which is neither a field nor {{*}} nor {{**/}}")
    return _Piece("field", name, pattern)


def _check(pieces: Sequence[_Piece], text: str) -> None:
    if not pieces:
        raise _wrong(text, "is empty")
    if text.startswith(("/", "./", "../")) or "/../" in text:
        raise _wrong(text, "does not begin below the root")
    if "\\" in "".join(piece.text for piece in pieces):
        raise _wrong(text, "has a backslash; folders end with / on every system")
    before = "/"
    for piece in pieces:
        if piece.kind == "folders" and not before.endswith("/"):
            raise _wrong(text, "has {**/} inside a name; it stands where a folder begins")
        before = "/" if piece.kind == "folders" else piece.text if piece.kind == "text" else "?"
    seen: dict[str, str] = {}
    for piece in pieces:
        if piece.kind == "field" and seen.setdefault(piece.text, piece.pattern) != (piece.pattern or seen[piece.text]):
            raise _wrong(text, f"gives {{{piece.text}}} two patterns; the first occurrence says what it holds")


def _regex(pieces: Sequence[_Piece]) -> str:
    """The regular expression of a template, in which no character is tried again and again.

    Lazy fields alone take time to the power of their number on names such as `____...`. A plain field that is followed
    by another plain one in the same folder may end at the first place where the text after it fits: had the whole
    template fitted with a later end, it fits with this one, the next field taking the rest. So that choice is final
    (an atomic group). The same holds for folders between two `{**/}`. Fields with patterns and fields that occur twice
    can depend on the choice, so there it stays open.
    """
    uses = Counter(piece.text for piece in pieces if piece.kind == "field")
    blocks: list[list[_Piece]] = [[]]
    for piece in pieces:
        if piece.kind == "folders":
            blocks.append([])
        else:
            blocks[-1].append(piece)
    seen: set[str] = set()
    written = []
    for number, block in enumerate(blocks):
        regex = ("(?:[^/]++/)*?" if number else "") + _block(block, uses, seen)
        depends = any(piece.pattern or uses[piece.text] > 1 for piece in block)
        written.append(regex if depends or not block or number == len(blocks) - 1 else f"(?>{regex})")
    return "".join(written)


def _block(pieces: Sequence[_Piece], uses: Counter[str], seen: set[str]) -> str:
    """The regular expression of the pieces between two `{**/}`."""
    written, index = [], 0
    while index < len(pieces):
        piece, following = pieces[index], pieces[index + 1 : index + 3]
        text = following[0].text if following and following[0].kind == "text" else ""
        after = following[1:] if text else following[:1]
        if _plain(piece, uses) and "/" not in text and after and _plain(after[0], uses):
            written.append(f"(?>{_one(piece, seen)}{re.escape(text)})")
            index += 2 if text else 1
        else:
            whole = not following or text.startswith("/")
            written.append(_one(piece, seen, to_the_end=whole))
            index += 1
    return "".join(written)


def _plain(piece: _Piece, uses: Counter[str]) -> bool:
    if piece.kind == "any":
        return not piece.pattern
    return piece.kind == "field" and not piece.pattern and piece.text != "ext" and uses[piece.text] == 1


def _one(piece: _Piece, seen: set[str], *, to_the_end: bool = False) -> str:
    """One piece; `to_the_end` says that the rest of the file's or folder's name is its own."""
    if piece.kind == "text":
        return re.escape(piece.text)
    if piece.kind == "any":
        return f"(?:{piece.pattern})" if piece.pattern else "[^/]*+" if to_the_end else "[^/]*?"
    if piece.text in seen:
        return f"(?P={piece.text})"
    seen.add(piece.text)
    plain = _EXTENSION if piece.text == "ext" else "[^/]++" if to_the_end else "[^/]+?"
    return f"(?P<{piece.text}>{piece.pattern or plain})"
