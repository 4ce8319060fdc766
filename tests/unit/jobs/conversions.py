"""What the tests of `rddm convert` share: the command line, its refusals, and small official networks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jobs import cli

TINY_OFFICIAL = {"channels": 8, "multipliers": (1, 2)}


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    code = stopped.value.code
    assert isinstance(code, int)
    return code, captured.out, captured.err


def refusal(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and the one line that says why; nothing else is left behind, not even a hidden folder."""
    output = Path(str(arguments[2]))
    before = set(output.parent.iterdir())
    code, _, err = run("convert", *arguments, capsys=capsys)
    (line,) = [line for line in err.splitlines() if line.startswith("rddm: ")]
    assert "Traceback" not in err
    assert set(output.parent.iterdir()) == before
    return code, line


class Evil:
    """Runs a command when it is unpickled by a reader that trusts its file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)
