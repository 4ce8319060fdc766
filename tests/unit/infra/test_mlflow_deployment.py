"""MLflow's deployment: its parts name each other, MLflow reads its settings, its secrets are references."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.unit.infra.test_manifests import strict

MANIFEST = REPOSITORY / "infra/mlflow/mlflow.yaml"


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture
def container(documents: dict[str, Any]) -> dict[str, Any]:
    (only,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="module")
def pod_schema(shared: Path) -> Any:
    """The schema of any pod template, as KubeRay's CRD spells it out."""
    crd = yaml.load((shared / "kuberay/ray.io_rayclusters.yaml").read_text(), Loader=yaml.CSafeLoader)
    version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    cluster = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return strict(cluster["headGroupSpec"]["properties"]["template"])


def test_the_pod_fits_the_schema_of_pods(documents: dict[str, Any], pod_schema: Any) -> None:
    template = documents["Deployment"]["spec"]["template"]
    jsonschema.validate(template, pod_schema)
    template["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(template, pod_schema)


def test_the_parts_find_each_other(documents: dict[str, Any], container: dict[str, Any]) -> None:
    spec = documents["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert documents["Service"]["spec"]["selector"] == labels
    assert documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    named = {port["name"] for port in container["ports"]}
    (served,) = documents["Service"]["spec"]["ports"]
    (rule,) = documents["NetworkPolicy"]["spec"]["ingress"]
    assert {served["targetPort"], *(port["port"] for port in rule["ports"])} <= named
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    address = f"{documents['Service']['metadata']['name']}:{served['port']}"
    assert address in str(values["MLFLOW_SERVER_ALLOWED_HOSTS"]).split(",")
    assert values["MLFLOW_PORT"] == str(container["ports"][0]["containerPort"])


def test_every_setting_is_one_that_mlflow_reads(container: dict[str, Any]) -> None:
    from mlflow import environment_variables
    from mlflow.cli import server

    options = {getattr(parameter, "envvar", None) for parameter in server.params}
    for entry in container["env"]:
        if entry["name"].startswith("MLFLOW_"):
            assert entry["name"] in options or hasattr(environment_variables, entry["name"]), entry["name"]


def test_secrets_are_references_and_the_image_is_the_release(container: dict[str, Any]) -> None:
    for entry in container["env"]:
        if re.search("KEY|URI|DESTINATION|PASSWORD|TOKEN", entry["name"]):
            assert set(entry) == {"name", "valueFrom"}
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert version
    assert container["image"] == f"rddm:{version[1]}"
