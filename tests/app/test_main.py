"""The process: phases of its start, failures to start, drain, durability. Real parts throughout."""

import asyncio
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.state import Openers
from app.errors import ArtifactError
from app.main import create_app
from app.settings import Settings
from tests.app.processes import SERVE, UVICORN, free_port, run, service


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


def test_onnxruntime_telemetry_is_off_before_it_is_imported() -> None:
    code = (
        "import os, sys, app.main\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
