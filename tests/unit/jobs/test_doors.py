"""Each outside library has its door, also in modules that are added later: read from the source, not from a list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DOORS = {
    "mlflow": {"jobs/tracking.py", "jobs/model_registry.py", "jobs/serving_model.py"},
    "ray.job_submission": {"jobs/submit.py"},
    "diffusers": {"rddm/nets/diffusers_unet.py"},
    "onnxruntime": {"jobs/conversions/to_onnx.py"},
}
SOURCES = sorted(path for room in ("rddm", "pipelines", "jobs") for path in (REPOSITORY / room).rglob("*.py"))


def imported(path: Path, *, only_at_import_time: bool = False) -> set[str]:
    """Dotted names that a file imports; with `from a import b`, both `a` and `a.b`."""
    nodes = (
        _at_import_time(ast.parse(path.read_text())) if only_at_import_time else ast.walk(ast.parse(path.read_text()))
    )
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _at_import_time(child)


def importers(library: str) -> set[str]:
    return {
        path.relative_to(REPOSITORY).as_posix()
        for path in SOURCES
        if any(name == library or name.startswith(library + ".") for name in imported(path))
    }


@pytest.mark.parametrize("library", list(DOORS))
def test_a_library_is_used_behind_its_door_only(library: str) -> None:
    found = importers(library)
    assert found
    assert found <= DOORS[library]


def test_in_pipelines_ray_is_in_the_graphs_and_torch_where_shards_are_read() -> None:
    pipelines = {path for path in importers("ray") if path.startswith("pipelines/")}
    assert pipelines
    assert pipelines <= {
        "pipelines/doctor/graph.py",
        "pipelines/preprocess.py",
        "pipelines/archive.py",
        "pipelines/graphs.py",
    }
    assert {path for path in importers("torch") if path.startswith("pipelines/")} == {"pipelines/training_pairs.py"}


@pytest.mark.parametrize("module", ["jobs/cli.py", "jobs/config.py", "jobs/config_file.py", "jobs/submit.py"])
def test_the_front_of_the_house_imports_nothing_heavy(module: str) -> None:
    roots = {name.split(".")[0] for name in imported(REPOSITORY / module, only_at_import_time=True)}
    assert not roots & {"ray", "mlflow", "torch", "albumentations", "matplotlib"}


def test_nothing_is_imported_relatively() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
