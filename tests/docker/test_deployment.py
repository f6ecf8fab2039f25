"""The stack of docker/compose.yaml, built and run: it answers, keeps its data and is confined."""

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # tests are no package, so the fixture's class is known to readers only
    from tests.docker.conftest import Deployment, Engine

# The first test waits for the engine, its base image and the build.
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1500)]

# From inside: what can be imported, what can be written, which rights there are.
INSIDE = """
import importlib.util, json, os, pathlib, shutil
MODULES = ("pip", "ensurepip", "torch", "transformers")
def writable(folder):
    try:
        path = pathlib.Path(folder, "probe"); path.write_text("x"); path.unlink()
    except OSError as error:
        return error.errno
    return True
status = dict(l.split(":", 1) for l in open("/proc/self/status"))
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(),
    "capabilities": [int(status[n], 16) for n in ("CapInh", "CapPrm", "CapEff", "CapBnd")],
    "no_new_privileges": int(status["NoNewPrivs"]),
    "writable": {f: writable(f) for f in ("/", "/etc", "/opt/tyntegra", "/usr", "/tmp", "/data")},
    "modules": [m for m in MODULES if importlib.util.find_spec(m)],
    "tools": [t for t in ("pip", "gcc", "cc", "make", "curl", "wget") if shutil.which(t)],
    "telemetry": os.environ.get("ORT_DISABLE_TELEMETRY"),
    "stray": [str(p) for p in pathlib.Path("/data").rglob("*onnxruntime*")],
}))
"""


# A machine elsewhere, as seen from the engine's network: it answers once its line is plugged in.
ELSEWHERE = """
import socket, subprocess
input()
for words in ("addr add 198.51.100.2/24 dev inner", "link set inner up",
              "route add default via 198.51.100.1"):
    subprocess.run(["ip", *words.split()], check=True)
with socket.create_server(("198.51.100.2", 443)) as server:
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
"""


@pytest.fixture
def outside(deployment: "Deployment") -> Iterator[tuple[str, int]]:
    """An address outside of the engine's network, on a machine made of one more namespace."""
    if deployment.engine.network_pid is None:
        pytest.skip("an engine that runs already has a network that is not ours to extend")

    def plug() -> subprocess.Popen[str]:
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net"]
        command += [sys.executable, "-c", ELSEWHERE]
        machine = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert machine.stdin is not None
        assert machine.stdout is not None
        own = os.readlink(f"/proc/{deployment.engine.network_pid}/ns/net")
        while os.readlink(f"/proc/{machine.pid}/ns/net") == own:
            time.sleep(0.05)
        for words in (
            f"link add outer type veth peer name inner netns {machine.pid}",
            "addr add 198.51.100.1/24 dev outer",
            "link set outer up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        machine.stdin.write("plugged\n")
        assert machine.stdout.readline() == "ready\n"
        return machine

    machine = deployment.call(plug)
    yield "198.51.100.2", 443
    machine.kill()
    machine.communicate()


@pytest.fixture(scope="module")
def inside(deployment: "Deployment") -> dict:
    return json.loads(deployment.inside("api", "python", "-c", INSIDE))


def test_stack_up_is_ready_behind_the_edge(deployment: "Deployment") -> None:
    answer = deployment.request("GET", "/health/ready")
    assert answer.status_code == 200
    assert answer.json()["provider"] == "CPUExecutionProvider"
    assert answer.json()["collections"]["demo"] > 100


def test_embed_through_the_edge_gives_unit_vectors(deployment: "Deployment") -> None:
    body = {"inputs": ["Good morning", "Habari za asubuhi"], "input_type": "query"}
    answer = deployment.request("POST", "/embed", json=body)
    assert answer.status_code == 200
    vectors = answer.json()["embeddings"]
    assert len(vectors) == 2
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-3) for vector in vectors)


def test_search_for_a_documents_own_text_ranks_it_first(deployment: "Deployment") -> None:
    text = "The borehole by the school is dry; fetch water from the spring behind the hill."
    documents = {"documents": [{"doc_id": "well", "text": text, "lang": "eng_Latn"}]}
    stored = deployment.request("POST", "/collections/demo/documents", json=documents)
    assert stored.status_code == 200
    try:
        body = {"collection": "demo", "queries": text, "top_k": 3}
        hits = deployment.request("POST", "/search", json=body).json()["results"][0]["hits"]
        assert hits[0]["doc_id"] == "well"
        assert hits[0]["score"] == pytest.approx(1, abs=0.01)
        assert hits[1]["score"] < hits[0]["score"]
    finally:
        deployment.request("DELETE", "/collections/demo/documents/well")


def test_probe_through_the_edge_reports_a_rate(deployment: "Deployment") -> None:
    query = {"query_id": "q", "text": "Where can I fetch clean water?", "lang": "eng_Latn"}
    budget = {"edits": 1, "queries": 8, "seconds": 20}
    body = {"collection": "demo", "queries": [query], "attacks": None, "budget": budget, "seed": 0}
    answer = deployment.request("POST", "/probe/adversarial", json=body)
    assert answer.status_code == 200, answer.text
    rate = answer.json()["summary"]["attack_success_rate"]
    assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1


def test_service_inside_has_no_privileges(inside: dict) -> None:
    assert inside["uid"] == 10001
    assert set(inside["groups"]) <= {10001}
    assert inside["capabilities"] == [0, 0, 0, 0]
    assert inside["no_new_privileges"] == 1


def test_service_inside_writes_only_to_tmp_and_data(inside: dict) -> None:
    found = {folder for folder, outcome in inside["writable"].items() if outcome is True}
    assert found == {"/tmp", "/data"}
    assert inside["writable"]["/"] == 30  # EROFS: read-only, not merely another owner


def test_image_has_no_installer_compiler_or_torch(inside: dict) -> None:
    assert inside["modules"] == []
    assert inside["tools"] == []


def test_service_has_no_way_out_while_the_edge_has(
    deployment: "Deployment", outside: tuple[str, int]
) -> None:
    def connect(service: str, python: str) -> str:
        code = f"import socket; socket.create_connection({outside}, 3); print('connected')"
        return deployment.inside(service, python, "-c", code, check=False)

    assert "connected" in connect("edge", "python3")  # there is something to be reached
    refused = connect("api", "python")
    assert "connected" not in refused
    assert re.search(r"timed out|unreachable", refused)


def test_service_inside_leaves_no_telemetry(inside: dict) -> None:
    assert inside["telemetry"] == "1"
    assert inside["stray"] == []


@pytest.mark.parametrize("service", ["api", "edge"])
def test_container_as_inspected_is_confined(deployment: "Deployment", service: str) -> None:
    host = deployment.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert 0 < host["PidsLimit"] <= 256
    assert 0 < host["Memory"] <= 2 * 2**30


def test_ports_are_published_by_the_edge_on_loopback_only(deployment: "Deployment") -> None:
    assert not any(deployment.inspect("api")["NetworkSettings"]["Ports"].values())
    published = deployment.inspect("edge")["NetworkSettings"]["Ports"]
    addresses = {binding["HostIp"] for bindings in published.values() for binding in bindings or []}
    assert addresses == {"127.0.0.1"}


def test_host_header_of_another_site_is_refused(deployment: "Deployment") -> None:
    answer = deployment.request("GET", "/info", headers={"Host": "attacker.example"})
    assert 400 <= answer.status_code < 500


def test_edge_cuts_off_a_client_that_sends_no_end(deployment: "Deployment") -> None:
    address = deployment.address()

    def drip() -> float:
        started = time.monotonic()
        with socket.create_connection(address, 20) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            while client.recv(4096):
                pass
        return time.monotonic() - started

    assert 3 < deployment.call(drip) < 12


def test_collections_survive_a_new_container(deployment: "Deployment") -> None:
    documents = {"documents": [{"doc_id": "kept", "text": "This stays.", "lang": "eng_Latn"}]}
    assert deployment.request("PUT", "/collections/kept", json={}).status_code < 300
    stored = deployment.request("POST", "/collections/kept/documents", json=documents)
    assert stored.status_code == 200
    deployment.compose("up", "--no-build", "--force-recreate", "--wait", "api", "edge")
    found = deployment.request("GET", "/collections/kept/documents/kept")
    assert found.json()["text"] == "This stays."


def test_stack_stopped_ends_cleanly_and_the_edge_says_so(deployment: "Deployment") -> None:
    # Last: it leaves the service stopped.
    started = time.monotonic()
    deployment.compose("stop", "api")
    assert time.monotonic() - started < 20
    state = deployment.inspect("api")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    answer = deployment.request("GET", "/info")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"


def test_gpu_stack_without_a_gpu_is_refused_in_clear_words(engine: "Engine") -> None:
    if "nvidia" in engine.run("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("this engine has an NVIDIA runtime")
    files = ("-f", "docker/compose.yaml", "-f", "docker/compose.gpu.yaml")
    environ = {"API_IMAGE": "tyntegra-test:cpu", "EDGE_IMAGE": engine.edge}
    command = ("compose", "-p", "tyntegra-test-gpu", *files)
    try:
        said = engine.run(
            *command, "up", "--no-build", "--detach", "api", check=False, environ=environ
        )
        assert 'could not select device driver "nvidia"' in said
    finally:
        engine.run(*command, "down", "--volumes", environ=environ)
