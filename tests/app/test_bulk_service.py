"""``tyntegra index`` against a service that listens: batches, refusals, waits, SIGKILL, Ctrl-C."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.bulk.service import ServiceSink
from app.bulk.target import Target
from app.cli import main
from app.errors import NotReadyError, OverloadedError
from app.retrieval.documents import Document

from .bulk_files import arguments, write_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def live(serving: Callable[..., Any]) -> Iterator[Any]:
    with serving(max_documents=64, max_text_chars=200) as found:
        yield found


def kept(live: Any, name: str = "notes") -> dict[str, str]:
    """What the store behind the service holds, by id."""
    return {doc_id: e.document.text for doc_id, e in live.service.store.made[name].entries.items()}


def test_index_sends_files_to_the_service(
    live: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "a.jsonl", 300)
    (tmp_path / "in" / "b.csv").write_text("id,text,lang,year\nc,Maji,swh_Latn,1990\n")
    assert main(arguments(live, tmp_path / "in", "--field", "year=integer")) == 0
    assert len(kept(live)) == 301
    found = live.service.store.get("notes", ["c"])
    assert found == [Document("c", "Maji", "swh_Latn", {"year": 1990})]
    summary = json.loads(capsys.readouterr().out)
    assert (summary["documents"], summary["complete"]) == (301, True)
    # Nothing is left to do.
    assert main(arguments(live, tmp_path / "in", "--field", "year=integer")) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 301


def test_index_reports_what_the_service_refuses(
    live: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    path = write_rows(tmp_path / "in" / "a.jsonl", 120)
    lines = path.read_text().splitlines()
    lines[30] = json.dumps({"doc_id": "long", "text": "x" * 300})
    lines[77] = json.dumps({"doc_id": "wide", "text": "y", "metadata": {"k": "v" * 5000}})
    path.write_text("\n".join(lines))
    assert main(arguments(live, tmp_path / "in")) == 0
    captured = capsys.readouterr()
    assert "2 rows were refused" in captured.err
    summary = json.loads(captured.out)
    refused = [json.loads(line) for line in Path(summary["report"]).read_text().splitlines()]
    assert [(one["row"], one["doc_id"]) for one in refused] == [(31, "long"), (78, "wide")]
    assert "has 300 characters" in refused[0]["refused"]
    assert len(kept(live)) == summary["documents"] == 118


def test_sink_learns_how_many_documents_a_service_takes(live: Any) -> None:
    sink = ServiceSink(Target("notes", url=live.url, batch=256), threading.Event())
    written = sink.write([Document(f"d{n}", "x" * 120) for n in range(256)])
    sink.close()
    assert (dict(written.refused), written.truncated) == ({}, 256)
    assert len(kept(live)) == 256
    assert sink._most == 64


def test_sink_sends_less_at_a_time_to_a_service_that_is_slow(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.bulk.service.SLOW_S", 0.4)
    monkeypatch.setattr("app.bulk.service.FAST_S", 0.0)
    sizes: list[int] = []
    with serving(request_timeout_s=0.6, max_documents=256) as live:
        encode = live.service.encoder.encode_async

        async def slow(texts: Any, *args: Any, **kwargs: Any) -> Any:
            sizes.append(len(texts))
            await asyncio.sleep(0.01 * len(texts))
            return await encode(texts, *args, **kwargs)

        live.service.encoder.encode_async = slow
        sink = ServiceSink(Target("notes", url=live.url, batch=128), threading.Event())
        written = sink.write([Document(f"d{n}", "x") for n in range(200)])
        sink.close()
        assert written.refused == {}
        assert len(kept(live)) == 200
    # 128 take too long and are sent away, and so many are not tried again.
    assert (sizes[0], sizes.count(128)) == (128, 1)
    assert sizes[-1] <= 32


def test_index_into_a_collection_of_another_encoder_is_refused(
    live: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.service.store.create("notes", live.service.encoder.dim, "other@000000000000")
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "a.jsonl", 5)
    assert main(arguments(live, tmp_path / "in")) == 1
    assert "other@000000000000" in capsys.readouterr().err


def test_index_without_a_service_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "a.jsonl", 5)
    where = ["--url", "http://127.0.0.1:9", "--patience", "0.3"]
    files = ["index", str(tmp_path / "a.jsonl"), "--collection", "notes"]
    assert main([*files, "--ledger", str(tmp_path / "ledger"), *where]) == 1
    assert "start a service with `tyntegra serve`" in capsys.readouterr().err


def test_sink_waits_while_the_service_is_busy_and_gives_up_in_the_end(live: Any) -> None:
    documents = [Document("a", "one")]
    sink = ServiceSink(Target("notes", url=live.url, patience_s=20), threading.Event())
    encode, failures = live.service.encoder.encode_async, [2]

    async def busy(*args: Any, **kwargs: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise OverloadedError("the queue is full; try again later.", retry_after_s=0.1)
        return await encode(*args, **kwargs)

    live.service.encoder.encode_async = busy
    assert sink.write(documents).refused == {}
    assert kept(live) == {"a": "one"}
    sink._target = Target("notes", url=live.url, patience_s=0.5)
    failures[0] = 1000
    with pytest.raises(NotReadyError, match="busy for too long"):
        sink.write(documents)
    sink.close()


def test_sink_sends_again_when_the_connection_breaks(live: Any) -> None:
    import httpx

    sink = ServiceSink(Target("notes", url=live.url, patience_s=20), threading.Event())
    inner, broken = sink._http._transport, [2]

    class Breaking(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = inner.handle_request(request)
            if broken[0]:  # it arrived, but nobody was told
                broken[0] -= 1
                response.close()
                raise httpx.RemoteProtocolError("Server disconnected")
            return response

    sink._http._transport = Breaking()
    assert sink.write([Document("a", "one")]).refused == {}
    assert (kept(live), broken) == ({"a": "one"}, [0])
    sink.close()
    inner.close()


def test_sink_with_a_key_sends_it_and_hides_it(serving: Any, tmp_path: Path) -> None:
    import hashlib

    from app.errors import ServiceError

    (tmp_path / "keys").write_text(hashlib.sha256(b"secret").hexdigest() + "\n")
    with serving(keys=tmp_path / "keys") as live:
        target = Target("notes", url=live.url, key="secret")
        ServiceSink(target, threading.Event()).close()
        with pytest.raises(ServiceError):
            ServiceSink(Target("notes", url=live.url, key="wrong"), threading.Event())
    assert "secret" not in repr(target)


def started(live: Any, folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "app", *arguments(live, folder, *more)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


class Gate:
    """Lets upserts through one by one, so that there is time to interrupt; then all of them."""

    def __init__(self, live: Any) -> None:
        self._upsert = live.service.store.upsert
        self._change = threading.Condition()
        self._waiting = 0
        self._let = 0
        live.service.store.upsert = self._pass

    def _pass(self, *args: Any, **kwargs: Any) -> int:
        with self._change:
            self._waiting += 1
            self._change.wait_for(lambda: self._let > 0, timeout=60)
            self._waiting -= 1
            self._let -= 1
        return self._upsert(*args, **kwargs)

    def let_one(self) -> None:
        """Let one pass, if one waits."""
        with self._change:
            if self._waiting and self._let < 1:
                self._let = 1
                self._change.notify()

    def open(self) -> None:
        """Let all pass from now on."""
        with self._change:
            self._let = 1 << 30
            self._change.notify_all()


def test_index_killed_at_random_goes_on_without_loss_or_duplicates(
    live: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in range(4):
        write_rows(tmp_path / "in" / f"{name}.jsonl", 500, 500 * name)
    gate, dice, counts = Gate(live), random.Random(5), [0]
    for _ in range(3):
        process = started(live, tmp_path / "in")
        deadline = time.monotonic() + 60
        while len(kept_or_none(live)) <= counts[-1] and time.monotonic() < deadline:
            gate.let_one()  # also what a killed one had sent
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        process.communicate()
        counts.append(len(kept_or_none(live)))
    assert 0 < counts[1] < counts[3] < 2000
    gate.open()
    process = started(live, tmp_path / "in")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert json.loads(out)["documents"] == len(kept(live)) == 2000
    assert kept(live) == {f"d{n}": f"text {n}" for n in range(2000)}


def kept_or_none(live: Any) -> dict[str, str]:
    return kept(live) if "notes" in live.service.store.made else {}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_index_interrupted_ends_cleanly_and_says_how_to_go_on(
    live: Any, tmp_path: Path, sent: signal.Signals
) -> None:
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "a.jsonl", 3000)
    gate = Gate(live)
    process = started(live, tmp_path / "in")
    deadline = time.monotonic() + 60
    while len(kept_or_none(live)) < 200 and time.monotonic() < deadline:
        gate.let_one()
        time.sleep(0.005)
    process.send_signal(sent)
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(2)]
    assert "stopping after what is under way" in said[1]
    gate.open()
    out, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Run the same command again to go on." in error
    assert "Traceback" not in error
    # What was acknowledged was noted, and nothing else was written.
    assert json.loads(out)["documents"] == len(kept(live)) < 3000
    assert main(arguments(live, tmp_path / "in")) == 0
    assert len(kept(live)) == 3000
