"""How the process ends: drained at a signal, with nothing acknowledged lost at a kill."""

import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.app.processes import service


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
