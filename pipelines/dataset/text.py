"""Text for people out of names and numbers that nobody has looked at yet."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def one_line(text: str, length: int | None = None) -> str:
    """Text without line breaks and control characters, cut to a length if one is given."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if length is None or len(line) <= length else line[: length - 1] + "…"


def size_text(num_bytes: int) -> str:
    """A size such as `12.3 MB`; decimal units."""
    size, unit = float(num_bytes), 0
    while size >= 999.95 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{num_bytes} B"
