"""How far a distributed job has come: workers post to one small actor, the driver shows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from jobs.terminal import Terminal

_POLL_S = 0.5


class _Board:
    """The latest word of a job: stage, steps done and in all, and a note."""

    def __init__(self) -> None:
        self._latest: tuple[str, int, int, str] = ("starting workers", 0, 0, "")

    def post(self, stage: str, done: int, total: int, note: str) -> None:
        self._latest = (stage, done, total, note)

    def read(self) -> tuple[str, int, int, str]:
        return self._latest


@contextmanager
def shown_board(terminal: Terminal) -> Iterator[Any]:
    """A board for the block, whose latest word is shown on the terminal.

    Yields:
        An actor handle; workers call `post.remote(stage, done, total, note)`.
    """
    board = ray.remote(num_cpus=0)(_Board).remote()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(board, terminal, done), daemon=True)
    watcher.start()
    try:
        yield board
    finally:
        done.set()
        watcher.join()
        ray.kill(board)


def _watch(board: Any, terminal: Terminal, done: threading.Event) -> None:
    with terminal.stages() as show:
        finished = False
        while not finished:
            finished = done.wait(_POLL_S)
            try:
                stage, at, total, note = ray.get(board.read.remote(), timeout=10)
            except ray.exceptions.RayError:
                return  # the job itself reports what went wrong
            show(stage)(at, total, note)
