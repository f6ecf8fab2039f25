"""A Docker engine for the container tests: the one that runs already, else one of our own.

Our own keeps to namespaces: it builds in the host's network without a bridge, serves in a network
of its own, and its mounts and processes vanish with it. No bridge, firewall rule or mount is left.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_BASE = "python:3.11-slim-bookworm"
# Python for the service and nginx for the edge, in one image: no registry is needed.
LOCAL_BASE_PACKAGES = "python3-minimal,python3-venv,ca-certificates,nginx"
TOOLS = ("dockerd", "containerd", "runc", "iptables", "ip", "mmdebstrap", "nsenter", "setpriv")
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Engine:
    """How to reach an engine: environment of the client, and the network its ports are in."""

    environ: dict[str, str]
    base: str
    edge: str
    network_pid: int | None  # a process in the engine's network; None: ours

    def run(
        self,
        *arguments: str,
        environ: dict[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> str:
        """Run the client and return what it printed; with ``check`` fail unless it ended with 0."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environ | (environ or {}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(
                f"docker {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
            )
        return done.stdout


@dataclass(frozen=True)
class Deployment:
    """A running stack of docker/compose.yaml."""

    engine: Engine
    project: str
    files: tuple[Path, ...]
    environ: dict[str, str]
    call: Callable[..., Any]  # run a function inside the engine's network

    def compose(self, *arguments: str, **options: Any) -> str:
        """Run ``docker compose`` on the stack."""
        files = [option for file in self.files for option in ("-f", str(file))]
        command = ("compose", "-p", self.project, *files, *arguments)
        return self.engine.run(*command, environ=self.environ, **options)

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in the service's container."""
        return self.compose("exec", "-T", service, *command, check=check)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        return json.loads(self.engine.run("inspect", self.compose("ps", "-aq", service).strip()))[0]

    def address(self) -> tuple[str, int]:
        """The published address; it changes when the edge is made anew."""
        host, _, port = self.compose("port", "edge", "8080").strip().rpartition(":")
        return host, int(port)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the published port."""
        host, port = self.address()
        url = f"http://{host}:{port}{path}"
        return self.call(httpx.request, method, url, timeout=30, trust_env=False, **options)


def _missing() -> str | None:
    """Say why no engine of our own can start; None if one can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "no Docker engine runs, and only root can start one"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"no Docker engine runs, and {', '.join(absent)} to start one is not installed"
    return None


# PID 1 of the engine's namespaces: $1 is our folder, "$@" from $2 on the engine's options. All data
# is in memory, which is quick and gone with the namespace. The first engine is stopped from
# outside; the second takes its place, in a network of its own.
NAMESPACE = """
set -e
root=$1; shift
mount -t tmpfs -o size=6g tmpfs "$root/run"
dockerd "$@" --bridge=none --iptables=false --ip-forward=false
exec unshare --net sh -c 'ip link set lo up; exec dockerd "$@"' sh "$@"
"""


class PrivateEngine:
    """An engine in namespaces of its own, that ends with this process whatever happens."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = os.environ | {"DOCKER_HOST": f"unix://{root}/d.sock"}
        self.parent = f"tyntegra-test-{os.getpid()}"  # control group
        (root / "run").mkdir()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]
        command += ["--kill-child", "--mount-proc", "sh", "-c", NAMESPACE, "sh", str(root)]
        command += ["--data-root", f"{root}/run/data", "--exec-root", f"{root}/run/exec"]
        command += ["-H", f"unix://{root}/d.sock", "-p", f"{root}/run/d.pid"]
        command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", self.parent]
        command += ["--default-ulimit", "nofile=1024:1024"]
        with (root / "dockerd.log").open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def wait(self) -> None:
        """Wait until the engine answers; skip the tests if it does not."""
        deadline = time.monotonic() + 60
        while not _answers(self.environ):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.root / "dockerd.log").read_text().splitlines()[-5:]
                pytest.skip("the Docker engine does not start here: " + " | ".join(tail))
            time.sleep(0.2)

    def isolate(self) -> int:
        """Have the engine start anew in a network of its own; returns a process in that network."""
        first = _child(self.process.pid)
        os.kill(_child(first), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while os.readlink(f"/proc/{first}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline, "the engine that builds does not stop"
            time.sleep(0.1)
        self.wait()
        return first

    def stop(self) -> None:
        """End the engine and all that it runs, and take away what it left."""
        self.process.kill()
        self.process.wait()
        for group in Path("/sys/fs/cgroup").glob(f"**/{self.parent}"):
            inner = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
            for path in (*inner, group):
                _remove_group(path)


def _remove_group(path: Path) -> None:
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # busy until the last process in it is reaped
            path.rmdir()
        time.sleep(0.01)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _answers(environ: dict[str, str]) -> bool:
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, check=False)
    return done.returncode == 0 and done.stdout.strip() != b""


def _local_base(cache: Path, engine: Engine) -> None:
    """Import a Debian with Python and nginx as ``engine.base``; made once, then cached."""
    archive = cache / "base.tar"
    if not archive.exists():
        partial = cache / f"base-{os.getpid()}.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase"]
        command += [f"--include={LOCAL_BASE_PACKAGES}", "--dpkgopt=force-unsafe-io"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man")]
        done = subprocess.run(
            [*command, "bookworm", partial],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            partial.unlink(missing_ok=True)
            pytest.skip(f"mmdebstrap made no base image: {done.stderr.strip()[-500:]}")
        partial.replace(archive)
    engine.run("import", str(archive), engine.base)


def _build(engine: Engine, tmp: Path, image: str) -> None:
    """Build the cpu stage; a CA that pip needs on this machine goes in as a secret."""
    command = ["build", "--network", "host", "-f", "docker/Dockerfile", "--target", "cpu"]
    command += ["--build-arg", f"BASE={engine.base}", "-t", image]
    if authority := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        (tmp / "pip.conf").write_text("[global]\ncert = /run/secrets/ca.crt\n")
        command += ["--secret", f"id=pip.conf,src={tmp}/pip.conf"]
        command += ["--secret", f"id=ca.crt,src={authority}"]
    engine.run(*command, ".", timeout=900, environ={"DOCKER_BUILDKIT": "1"})


@pytest.fixture(scope="session")
def engine(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Engine]:
    """An engine that has built ``tyntegra-test:cpu``; skips where there can be none."""
    if shutil.which("docker") is None:
        pytest.skip("the docker client is not installed")
    for plugin in ("compose", "buildx"):
        if subprocess.run(
            ["docker", plugin, "version"], capture_output=True, check=False
        ).returncode:
            pytest.skip(f"the docker client has no plugin {plugin}")
    root = tmp_path_factory.mktemp("docker")
    image = "tyntegra-test:cpu"
    if _answers({}):
        engine = Engine(dict(os.environ), PUBLIC_BASE, "nginx:1.28-alpine", None)
        _build(engine, root, image)
        yield engine
        engine.run("image", "rm", image)
        return
    if reason := _missing():
        pytest.skip(reason)
    base = "tyntegra-test-base:local"
    assert request.config.cache is not None
    private = PrivateEngine(root)
    try:
        private.wait()
        engine = Engine(private.environ, base, base, None)
        _local_base(request.config.cache.mkdir("docker"), engine)
        _build(engine, root, image)
        yield replace(engine, network_pid=private.isolate())
    finally:
        private.stop()


@pytest.fixture(scope="session")
def call(engine: Engine) -> Iterator[Callable[..., Any]]:
    """Run a function in a thread that has joined the engine's network."""

    def join() -> None:
        if engine.network_pid is None:
            return
        with open(f"/proc/{engine.network_pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot join the engine's network")

    with ThreadPoolExecutor(1, initializer=join) as thread:
        yield lambda function, *args, **kwargs: thread.submit(function, *args, **kwargs).result(60)


@pytest.fixture(scope="module")
def deployment(engine: Engine, call: Callable[..., Any]) -> Iterator[Deployment]:
    """The stack of docker/compose.yaml, up and healthy on a free port."""
    environ = {
        "API_IMAGE": "tyntegra-test:cpu",
        "EDGE_IMAGE": engine.edge,
        "PUBLISH": "127.0.0.1:0",
    }
    files = (ROOT / "docker" / "compose.yaml",)
    stack = Deployment(engine, f"tyntegra-test-{os.getpid()}", files, environ, call)
    try:
        said = stack.compose("up", "--no-build", "--wait", "--wait-timeout", "90", check=False)
        if "(healthy)" not in stack.compose("ps", "-a"):
            pytest.fail(f"the stack did not come up:\n{said}\n{stack.compose('logs')}")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")
