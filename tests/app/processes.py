"""The service as a process of its own, for tests that start, signal or kill it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

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
