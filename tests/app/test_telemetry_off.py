"""ONNX Runtime reports home unless told not to; the service tells it, and this test listens.

Each process runs under strace, in a network namespace without a network and with an empty home, so
that every attempt is seen and none gets out.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WATCH_S = 6.0  # the first look-up comes within a second of the first session
ROOT = Path(__file__).parents[2]
CONTROL = """
import sys, time
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""
_ADDRESS = re.compile(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')


def _namespace() -> list[str]:
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


@pytest.fixture(scope="module", autouse=True)
def _tracer() -> None:
    if absent := [tool for tool in ("strace", "unshare") if shutil.which(tool) is None]:
        pytest.skip(f"{' and '.join(absent)} not installed")
    command = [*_namespace(), "strace", "-f", "-o", "/dev/null", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a process cannot be traced in a namespace here: {done.stderr.strip()}")


def _watch(arguments: list[str], tmp: Path, **environ: str) -> tuple[set[str], list[str]]:
    """Run Python with ``arguments`` until WATCH_S after it says it is ready.

    Returns:
        The addresses it tried to reach beyond this machine, and the files it left at home.
    """
    home, trace, said = tmp / "home", tmp / "trace", tmp / "stderr"
    home.mkdir()
    command = [*_namespace(), "strace", "-f", "-qq", "-o", str(trace)]
    command += ["-e", "trace=connect,sendto,sendmsg,sendmmsg", sys.executable, *arguments]
    # CI=true would silence ONNX Runtime by itself, and so would the variable we are to set.
    clean = {"PATH": os.environ["PATH"], "HOME": str(home)} | environ
    with said.open("w") as log:
        process = subprocess.Popen(command, env=clean, cwd=ROOT, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while "ready" not in said.read_text():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.1)
            time.sleep(WATCH_S)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    reached = set(_ADDRESS.findall(trace.read_text()))
    beyond = {name for name in reached if not name.startswith("127.") and name != "::1"}
    return beyond, [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


def test_service_started_reports_nothing_home(tiny_artifact: Path, tmp_path: Path) -> None:
    beyond, files = _watch(
        ["-m", "app", "serve"],
        tmp_path,
        TYNTEGRA_PORT="0",
        TYNTEGRA_STATE=str(tmp_path / "state"),
        TYNTEGRA_ARTIFACT=str(tiny_artifact),
    )
    assert beyond == set()
    assert files == []


def test_runtime_left_alone_is_seen_reporting_home(tiny_artifact: Path, tmp_path: Path) -> None:
    graph = next(tiny_artifact.glob("model.*.onnx"))
    beyond, files = _watch(["-c", CONTROL, str(graph)], tmp_path)
    assert beyond or any("onnxruntime" in name for name in files)
