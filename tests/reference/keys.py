"""Reading the keys of a reference file: `kind|words and settings|...`, in any order after the kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

Value = TypeVar("Value")
_CALL = re.compile(r"\s*\w+\(.*\)")
_NOTE = re.compile(r"\((?P<note>.*)\)")
_SPACE_IN_LIST = re.compile(r"\s+(?=[^\[]*\])")


def kind_of(raw: str) -> str:
    """What stands before the first bar, without its note."""
    return _NOTE.sub("", raw.split("|")[0]).strip()


class Key:
    """A key, read piece by piece; what nobody read by the end is an error.

    A part is made of `name=value` settings and of words; what stands in parentheses is a note (but for networks,
    whose parts are calls like `Unet(dim=8)`).

    Args:
        raw: The key as it stands in the file.
        calls: Whether parts are calls, to be kept whole.
    """

    def __init__(self, raw: str, *, calls: bool = False) -> None:
        """Split the key."""
        self.raw = raw
        _, *parts = raw.split("|")
        self.notes = [note["note"] for part in raw.split("|") if (note := _NOTE.search(part))]
        self.kind = kind_of(raw)
        self._words: list[str] = []
        self._settings: dict[str, str] = {}
        for part in parts:
            self._read(part, whole=calls and _CALL.match(part) is not None)

    def _read(self, part: str, *, whole: bool) -> None:
        if whole:
            self._words.append(part.strip())
            return
        for piece in _SPACE_IN_LIST.sub("", _NOTE.sub("", part)).split():
            name, is_setting, value = piece.partition("=")
            if not is_setting:
                self._words.append(piece)
            elif name in self._settings:
                raise ValueError(f"{name} is given twice")
            else:
                self._settings[name] = value

    def setting(self, name: str, convert: Callable[[str], Value], default: Value | None = None) -> Value:
        """Take a setting.

        Raises:
            ValueError: It is missing and has no default, or is not of its type.
        """
        if name not in self._settings:
            if default is None:
                raise ValueError(f"{name}=... is missing")
            return default
        return convert(self._settings.pop(name))

    def word(self, choices: Iterable[str], default: str | None = None) -> str:
        """Take the first word that is among the choices.

        Raises:
            ValueError: There is none, and no default.
        """
        known = list(choices)
        found = [word for word in self._words if word in known]
        if not found and default is not None:
            return default
        if not found:
            raise ValueError(f"none of its words {self._words} is among {known}")
        self._words.remove(found[0])
        return found[0]

    def flag(self, name: str) -> bool:
        """Take a word that may be there."""
        if name not in self._words:
            return False
        self._words.remove(name)
        return True

    def next_word(self) -> str:
        """Take the first word that is left.

        Raises:
            ValueError: None is left.
        """
        if not self._words:
            raise ValueError("a part is missing")
        return self._words.pop(0)

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            ValueError: Something is, and nobody knows what it means.
        """
        left = [*self._words, *(f"{name}={value}" for name, value in self._settings.items())]
        if left:
            raise ValueError(f"nobody knows what {', '.join(left)} means here")


def integers(text: str) -> list[int]:
    """`[37,803]`, or one number."""
    return [int(number) for number in text.strip("[]").split(",")]
