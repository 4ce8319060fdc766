"""The documents tell the truth: links lead somewhere, commands run, verbs exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DOCUMENTS = sorted(
    path for path in REPOSITORY.rglob("*.md") if not {".venv", "runs"} & set(path.relative_to(REPOSITORY).parts)
)
COMMANDS = [
    (path, line)
    for path in DOCUMENTS
    for block in re.findall(r"<!-- run -->\n```bash\n(.*?)```", path.read_text(), re.S)
    for line in block.splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if not re.match(r"\w+://|mailto:", target):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_some_commands_are_run() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize(("path", "line"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_command_in_a_document_runs(path: Path, line: str) -> None:
    program, *arguments = line.split()
    assert program == "rddm"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_every_verb_that_is_named_exists() -> None:
    from jobs.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    verbs |= {group.name for group in app.registered_groups if group.name}
    named = {verb for path in DOCUMENTS for verb in re.findall(r"^(?:\| `)?rddm ([a-z]+)", path.read_text(), re.M)}
    assert named
    assert named <= verbs
    readme = (REPOSITORY / "README.md").read_text()
    assert all(f"`rddm {verb}`" in readme for verb in verbs)
