"""The process: phases of its start, failures to start, drain, durability. Real parts throughout."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.state import Openers
from app.errors import ArtifactError
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
SERVE = ("-m", "app", "serve")
UVICORN = ("-m", "uvicorn", "--factory", "app.main:create_app")


def environment(**chosen: Any) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TYNTEGRA_", "ORT_"))}
    kept.pop("CI", None)
    return kept | {f"TYNTEGRA_{k.upper()}": str(v) for k, v in chosen.items()}


def run(*arguments: str, **chosen: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(**chosen), capture_output=True, text=True, timeout=60
    )


@dataclass
class Process:
    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/health/ready").status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail(f"not ready within 60 s: {self.log.read_text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def service(
    folder: Path, artifact: Path, command: tuple[str, ...] = SERVE, **chosen: Any
) -> Iterator[Process]:
    port, log = free_port(), folder / "log"
    chosen = {"state": folder / "state", "artifact": artifact, "port": port} | chosen
    arguments = [sys.executable, *command]
    if command == UVICORN:
        arguments += ["--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment(**chosen), stdout=output, stderr=output
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield Process(process, client, log)
    finally:
        process.kill()
        process.wait()


async def talk_while_opening(fakes: Any, outcome: Exception) -> None:
    """Start a service whose encoder takes until it is released, and then fails."""
    release = threading.Event()

    def open_slowly(_: Settings) -> Any:
        release.wait(10)
        raise outcome

    openers = Openers(open_slowly, lambda _: fakes()[1])
    app = create_app(Settings(demo=False, log="error"), openers=openers)
    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        app.router.lifespan_context(app),
    ):
        live = await client.get("/health/live")
        others = [
            await client.get("/health/ready"),
            await client.get("/collections"),
            await client.post("/embed", json={"inputs": "a"}),
            await client.get("/info"),
        ]
        metrics = await client.get("/metrics")
        assert live.status_code == 200
        assert [response.status_code for response in others] == [503] * 4
        assert all("starting" in response.json()["detail"] for response in others)
        assert "tyntegra_ready 0.0" in metrics.text
        release.set()
        await asyncio.sleep(5)


def test_start_told_to_end_meanwhile_never_turns_ready(fakes_module: Any) -> None:
    release = threading.Event()
    encoder, store = fakes_module()

    def open_slowly(_: Settings) -> Any:
        release.wait(10)
        return encoder

    async def check() -> None:
        settings = Settings(demo=False, log="error")
        app = create_app(settings, openers=Openers(open_slowly, lambda _: store))
        async with app.router.lifespan_context(app):
            service = app.state.service
            service.drain()
            release.set()
        assert service.phase == "stopped"
        assert b"tyntegra_ready 0.0" in service.metrics.render()

    asyncio.run(check())
    assert encoder.closed
    assert store.closed


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (ArtifactError("the model\nis broken"), "tyntegra: the model is broken\n"),
        (PermissionError(13, "Permission denied", "/x"), "tyntegra: Permission denied (/x); check"),
        (KeyError("canary"), "tyntegra: start-up failed, which is a bug: KeyError at"),
    ],
)
def test_start_answers_live_while_opening_and_a_failure_ends_the_process(
    fakes_module: Any, capfd: pytest.CaptureFixture[str], outcome: Exception, line: str
) -> None:
    with pytest.raises(SystemExit) as end:
        asyncio.run(talk_while_opening(fakes_module, outcome))
    assert end.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert "canary" not in said


def test_stop_closes_encoder_and_store(start: Any) -> None:
    async def check() -> None:
        async with start(demo=True) as running:
            assert not running.encoder.closed
            assert len(running.store.made["demo"].entries) > 10
        assert running.encoder.closed
        assert running.store.closed
        assert running.service.phase == "stopped"

    asyncio.run(check())


@pytest.mark.parametrize(
    ("command", "chosen", "message"),
    [
        (SERVE, {"artifact": "/nowhere"}, "/nowhere"),
        (SERVE, {"store": "mysql://h/d"}, "names no engine that is known"),
        (SERVE, {"store": "postgresql://u:p@127.0.0.1:9/d"}, "PostgreSQL at 127.0.0.1:9/d cannot"),
        (SERVE, {"keys": "/nowhere"}, "TYNTEGRA_KEYS"),
        (SERVE, {"state": "/proc/nowhere"}, "/proc/nowhere"),
        (SERVE, {"dictionaries": "/nowhere"}, "TYNTEGRA_DICTIONARIES: /nowhere has no dictionary"),
        (UVICORN, {"artifact": "/nowhere"}, "/nowhere"),
        (UVICORN, {"artifakt": "x"}, "did you mean TYNTEGRA_ARTIFACT?"),
    ],
)
def test_start_that_fails_ends_with_2_and_one_line(
    tmp_path: Path, command: tuple[str, ...], chosen: dict[str, str], message: str
) -> None:
    port = str(free_port())
    if command == UVICORN:
        command = (*command, "--port", port, "--log-level", "warning")
    else:
        chosen = {"port": port} | chosen
    done = run(*command, **({"state": tmp_path} | chosen))
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("tyntegra: ")
    assert message in done.stderr


def test_start_on_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*SERVE, port=port, state=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"Port {port}" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "TYNTEGRA_PORT" in done.stderr


def test_start_on_a_held_state_directory_names_its_holder(
    tmp_path: Path, tiny_artifact: Path
) -> None:
    with service(tmp_path, tiny_artifact, demo=False) as first:
        first.until_ready()
        done = run(*SERVE, port=free_port(), state=tmp_path / "state", artifact=tiny_artifact)
        assert first.client.get("/health/ready").status_code == 200
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"process {first.process.pid}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_exits_with_0(
    tmp_path: Path, tiny_artifact: Path, number: signal.Signals
) -> None:
    with service(tmp_path, tiny_artifact, drain_s=1) as running:
        running.until_ready()
        assert "demo" in running.client.get("/health/ready").json()["collections"]
        failures: list[str] = []
        stopped = threading.Event()
        answered = [0]

        def load() -> None:
            with httpx.Client(base_url=running.client.base_url, timeout=20) as client:
                while not stopped.is_set():
                    try:
                        response = client.post("/embed", json={"inputs": ["water"] * 50})
                    except httpx.ConnectError:
                        return  # the port is closed, as it should be
                    except httpx.TransportError as error:
                        failures.append(repr(error))
                        return
                    answered[0] += 1
                    if response.status_code != 200:
                        failures.append(response.text)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        running.process.send_signal(number)
        time.sleep(0.3)
        draining = running.client.get("/health/ready")
        status = running.process.wait(30)
        stopped.set()
        for thread in threads:
            thread.join()
    assert draining.status_code == 503
    assert "draining" in draining.json()["detail"]
    assert status == 0, running.log.read_text()
    assert answered[0] > 3
    # A request may race with the close of an idle connection; HTTP lets clients send it again.
    assert [f for f in failures if "RemoteProtocolError" not in f and "ReadError" not in f] == []


def test_request_in_flight_at_sigterm_is_answered(tmp_path: Path, tiny_artifact: Path) -> None:
    with service(tmp_path, tiny_artifact) as running:
        running.until_ready()
        answers: list[int] = []
        queries = [{"query_id": str(n), "text": f"boil water {n}"} for n in range(8)]
        body = {
            "collection": "demo",
            "queries": queries,
            "budget": {"edits": 8, "queries": 4096, "seconds": 10},
        }

        def searches() -> bool:  # before that it is not begun, and refused
            told = running.client.get("/metrics").text
            return float(told.partition("\ntyntegra_queue_texts ")[2].split()[0]) > 0

        def probe() -> None:
            with httpx.Client(base_url=running.client.base_url, timeout=40) as client:
                answers.append(client.post("/probe/adversarial", json=body).status_code)

        thread = threading.Thread(target=probe)
        thread.start()
        deadline = time.monotonic() + 30
        while not searches() and time.monotonic() < deadline:
            time.sleep(0.005)
        status = running.end()
        thread.join()
    assert answers == [200]
    assert status == 0


def test_stock_uvicorn_serves_the_application(tmp_path: Path, tiny_artifact: Path) -> None:
    with service(tmp_path, tiny_artifact, UVICORN) as running:
        running.until_ready()
        found = running.client.post("/search", json={"collection": "demo", "queries": "water"})
    assert len(found.json()["results"][0]["hits"]) == 10


def test_log_is_json_lines_without_any_text(tmp_path: Path, tiny_artifact: Path) -> None:
    with service(tmp_path, tiny_artifact, log="debug") as running:
        running.until_ready()
        running.client.post("/embed", json={"inputs": "canary text"})
        running.client.get("/collections/demo/documents/canary-id")
        running.client.post("/search", json={"collection": "demo", "queries": "canary text"})
        assert running.end() == 0
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [line["event"] for line in lines if line["event"] != "request"] == [
        "demo filled",
        "ready",
        "ended",
    ]
    assert any(line.get("route") == "/embed" for line in lines)
    assert "canary" not in running.log.read_text()


@pytest.mark.slow
def test_acknowledged_documents_survive_sigkill(tmp_path: Path, tiny_artifact: Path) -> None:
    acknowledged: list[str] = []
    for round_number in range(3):
        with service(tmp_path, tiny_artifact, demo=False) as running:
            running.until_ready()
            client = running.client
            assert client.put("/collections/a").status_code == 200
            missing = [
                doc_id
                for doc_id in acknowledged
                if client.get(f"/collections/a/documents/{doc_id}").status_code != 200
            ]
            assert missing == []
            killer = threading.Timer(0.3 + 0.2 * round_number, running.process.kill)
            killer.start()
            for batch in range(10_000):
                names = [f"r{round_number}-b{batch}-{n}" for n in range(8)]
                documents = [{"doc_id": name, "text": f"text of {name}"} for name in names]
                try:
                    answer = client.post("/collections/a/documents", json={"documents": documents})
                except httpx.TransportError:
                    break
                assert answer.status_code == 200
                acknowledged += names
            killer.join()
            assert running.process.wait(10) == -signal.SIGKILL
    assert len(acknowledged) > 50
    with service(tmp_path, tiny_artifact, demo=False) as running:
        running.until_ready()
        count = running.client.get("/collections/a").json()["documents"]
        for doc_id in acknowledged:
            assert running.client.get(f"/collections/a/documents/{doc_id}").status_code == 200
    assert count >= len(acknowledged)


def test_onnxruntime_telemetry_is_off_before_it_is_imported() -> None:
    code = (
        "import os, sys, app.main\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
