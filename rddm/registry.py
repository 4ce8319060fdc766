"""Named entries of one kind: to register is to be found by configs, the command line, the docs and the tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from rddm.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from names to entries, in the order of registration.

    Args:
        kind: What the entries are, for messages: `objective`, `sampler`.
    """

    def __init__(self, kind: str) -> None:
        """Start empty."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate an entry with its name.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def enrol(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return enrol

    def __getitem__(self, name: str) -> T:
        """The entry of a name.

        Raises:
            ConfigError: There is none; the message names the nearest one and all of them.
        """
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown {self.kind} {name!r}; {hint}one of: {', '.join(self._entries)}")

    def __contains__(self, name: object) -> bool:
        """Whether a name is registered."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of registration."""
        return iter(self._entries)

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries, in the order of registration."""
        return iter(self._entries.items())

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)
