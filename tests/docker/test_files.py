"""Docker and workflow files are sound by the linters' word, and the linters refuse broken ones."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE_FILES = (DOCKER / "compose.yaml", DOCKER / "compose.gpu.yaml")


def _run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / tool, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _check_compose(*files: Path) -> subprocess.CompletedProcess[str]:
    return _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def test_dockerfile_linted_has_no_finding() -> None:
    done = _run("hadolint", DOCKER / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_with_a_moving_base_is_refused(tmp_path: Path) -> None:
    text = (DOCKER / "Dockerfile").read_text()
    broken = tmp_path / "Dockerfile"
    broken.write_text(text + "FROM debian:latest\n")
    assert _run("hadolint", broken).returncode != 0


def test_dockerfile_needs_no_frontend_from_a_registry() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert "syntax=" not in text
    assert "<<" not in text


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: file.name)
def test_compose_file_fits_the_schema(file: Path) -> None:
    done = _check_compose(file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        (COMPOSE_FILES[0], "restart: unless-stopped", "restartt: unless-stopped"),
        (COMPOSE_FILES[1], "capabilities: [gpu]", "capabilites: [gpu]"),
    ],
    ids=["compose.yaml", "compose.gpu.yaml"],
)
def test_compose_file_with_a_misspelt_key_is_refused(
    file: Path, right: str, wrong: str, tmp_path: Path
) -> None:
    text = file.read_text()
    assert right in text
    broken = tmp_path / file.name
    broken.write_text(text.replace(right, wrong, 1))
    assert _check_compose(broken).returncode != 0


def test_compose_files_together_are_understood_by_the_client() -> None:
    if shutil.which("docker") is None:
        pytest.skip("the docker client is not installed")
    command = ["docker", "compose", "-f", COMPOSE_FILES[0], "-f", COMPOSE_FILES[1], "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "is not a docker command" in done.stderr or "unknown" in done.stderr:
        pytest.skip("the docker client has no plugin compose")
    assert done.returncode == 0, done.stderr


def test_runtime_versions_of_cpu_and_gpu_agree() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'"onnxruntime(?:-gpu\[[a-z,]+\])?==([0-9.]+)"', project)
    assert len(versions) == 2
    assert len(set(versions)) == 1


def test_workflow_fits_the_schema_and_pins_its_actions() -> None:
    workflow = ROOT / ".github/workflows/ci.yml"
    done = _run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)
    assert done.returncode == 0, done.stdout + done.stderr
    actions = re.findall(r"uses: (\S+)", workflow.read_text())
    assert actions
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions)
