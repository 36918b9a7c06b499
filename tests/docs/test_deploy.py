"""What deploys Threadloom is clean by the rules of its field, and says what the documentation says."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.compose import checked
from threadloom.cli.image.dockerfile import EXTRAS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = [DEPLOY / "kubernetes" / name for name in ("api.yaml", "worker.yaml", "autoscaling.yaml")]
KUBERNETES = "1.33"
STYLE = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"


def documents(kind: str) -> list[dict]:
    """The resources of a kind in all manifests."""
    found = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]
    return [one for one in found if one["kind"] == kind]


def containers() -> list[dict]:
    return [one for pod in documents("Deployment") for one in pod["spec"]["template"]["spec"]["containers"]]


def test_the_dockerfile_is_clean():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"'.[{','.join(EXTRAS)}]'" in (DEPLOY / "Dockerfile").read_text()


def test_the_yaml_is_clean():
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", STYLE, DEPLOY], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_the_manifests_are_what_kubernetes_knows(file):
    for document in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_kustomization_names_what_there_is():
    whole = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert [DEPLOY / "kubernetes" / name for name in whole["resources"]] == MANIFESTS
    assert {one["image"] for one in containers()} == {one["name"] for one in whole["images"]}


def test_every_container_is_probed_bounded_and_without_rights():
    for one in containers():
        assert one["readinessProbe"]["httpGet"]["path"] == "/ok"
        assert one["livenessProbe"]["httpGet"]["path"] == one["startupProbe"]["httpGet"]["path"] == "/live"
        assert one["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]
        rights = one["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
    for pod in documents("Deployment"):
        assert pod["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_what_is_selected_is_there():
    pods = [pod["spec"]["template"]["metadata"]["labels"] for pod in documents("Deployment")]
    selectors = [one["spec"]["selector"] for one in documents("Service")]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in documents("PodDisruptionBudget")]
    for selector in selectors:
        assert [labels for labels in pods if selector.items() <= labels.items()]
    names = {pod["metadata"]["name"] for pod in documents("Deployment")}
    assert {one["spec"]["scaleTargetRef"]["name"] for one in documents("HorizontalPodAutoscaler")} == names


def test_workers_are_scaled_by_a_figure_that_is_shown():
    scaler = next(one for one in documents("HorizontalPodAutoscaler") if one["metadata"]["name"] == "threadloom-worker")
    wanted = scaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    adapter = yaml.safe_load((DEPLOY / "kubernetes" / "prometheus-adapter.yaml").read_text())
    rule = adapter["rules"]["external"][0]
    assert rule["name"]["as"] == wanted
    assert rule["seriesQuery"].startswith("lg_api_queue_n_pending")


def test_the_compose_file_is_sound():
    services = checked((DEPLOY / "compose.yaml").read_text(), POSTGRES_PASSWORD="secret", APP="/app")
    assert set(services) == {"postgres", "api", "worker"}
    assert services["api"]["ports"] == ["8123:8000"]
    assert services["worker"]["ports"] == []
    for name in ("api", "worker"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["command"][-2:] == ["--workers", "2"]


@pytest.mark.parametrize("name", ["deploy/Dockerfile", "deploy/compose.yaml", "deploy/kubernetes"])
def test_the_page_names_it(name):
    assert name in (ROOT / "docs" / "deploying.md").read_text()
