"""Fetching from a server that breaks off, forgets, redirects and lies."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from training.data.fetching import Patience, fetch
from training.data.transfer import FetchError

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=3, wait_s=0.01, timeout_s=5.0)


@dataclass
class Script:
    """What the server does next, and what it was asked."""

    body: bytes = BODY
    version: str = '"one"'
    resumes: bool = True
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)  # bytes after which each answer breaks off
    failures: list[int] = field(default_factory=list)  # statuses to answer first
    ranges: list[str | None] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        script = self.script
        if self.path.startswith("/to/"):
            return self.answer(302, {"location": self.path.removeprefix("/to/")}, b"")
        if self.path != "/file.bin":
            return self.answer(404, {}, b"none")
        script.ranges.append(self.headers.get("range"))
        if script.failures:
            return self.answer(script.failures.pop(0), {"retry-after": "0"}, b"")
        body, start = script.body, 0
        headers = {"etag": script.version} if script.version else {}
        asked = self.headers.get("range") if script.resumes else None
        if asked and self.headers.get("if-range") == script.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.answer(416, {"content-range": f"bytes */{len(body)}"}, b"")
            headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206 if start else 200, headers, body[start:])

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.script.chunked:
            self.send_header("transfer-encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status in (200, 206) and self.script.cuts:
            body = body[: self.script.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    handler = type("Scripted", (Handler,), {"script": script})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("chunked", [False, True])
def test_fetch_brings_the_file_and_nothing_else(
    url: str, script: Script, tmp_path: Path, chunked: bool
) -> None:
    script.chunked = chunked
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "sources" / "file.bin"
    found = fetch(
        f"{url}/file.bin", path, sha256=SHA256, patience=QUICK, progress=lambda *a: told.append(a)
    )
    assert found == (SHA256, len(BODY))
    assert path.read_bytes() == BODY
    assert names(path.parent) == ["file.bin"]
    assert told[-1] == (len(BODY), None if chunked else len(BODY))


def test_fetch_that_breaks_off_goes_on_where_it_was(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.cuts = [100_000, 50_000]
    fetch(f"{url}/file.bin", tmp_path / "file.bin", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert script.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_fetch_goes_on_in_another_process(url: str, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    script.cuts = [100_000]
    with pytest.raises(FetchError, match="100000 bytes are kept"):
        fetch(f"{url}/file.bin", path, patience=Patience(attempts=1))
    assert names(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    fetch(f"{url}/file.bin", path, sha256=SHA256, patience=QUICK)
    assert script.ranges == [None, "bytes=100000-"]
    assert names(tmp_path) == ["file.bin"]


def test_fetch_that_was_killed_before_the_rename_only_renames(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.cuts = [len(BODY) - 1]
    with pytest.raises(FetchError):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=Patience(attempts=1))
    with (tmp_path / "file.bin.part").open("ab") as part:
        part.write(BODY[-1:])
    assert fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)[0] == SHA256


@pytest.mark.parametrize("length", [len(BODY), 1000])
def test_fetch_of_a_file_that_changed_meanwhile_begins_anew(
    url: str, script: Script, tmp_path: Path, length: int
) -> None:
    script.cuts = [100_000]
    with pytest.raises(FetchError):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=Patience(attempts=1))
    script.body, script.version = BODY[::-1][:length], '"two"'
    fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY[::-1][:length]


def test_fetch_of_a_part_longer_than_the_file_begins_anew(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.cuts = [100_000]
    with pytest.raises(FetchError):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=Patience(attempts=1))
    script.body = BODY[:500]
    fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY[:500]
    assert script.ranges == [None, "bytes=100000-", None]


@pytest.mark.parametrize(("resumes", "version"), [(False, '"one"'), (True, ""), (True, 'W/"one"')])
def test_fetch_from_a_server_that_cannot_resume_begins_anew(
    url: str, script: Script, tmp_path: Path, resumes: bool, version: str
) -> None:
    script.resumes, script.version, script.cuts = resumes, version, [100_000]
    fetch(f"{url}/file.bin", tmp_path / "file.bin", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_fetch_gives_up_after_attempts_that_bring_nothing(
    url: str, script: Script, tmp_path: Path
) -> None:
    script.resumes, script.cuts = False, [1000] * 9
    with pytest.raises(FetchError, match="3 attempts; 1000 bytes are kept"):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)
    assert len(script.ranges) == 3
    assert not (tmp_path / "file.bin").exists()


def test_fetch_waits_for_a_busy_server(url: str, script: Script, tmp_path: Path) -> None:
    script.failures = [503, 429]
    assert fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)[0] == SHA256
    assert len(script.ranges) == 3


def test_fetch_wrong_checksum_leaves_no_file_and_an_old_one_as_it_was(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(FetchError, match=f"has sha256 {SHA256}; expected 00"):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", sha256="00", patience=QUICK)
    assert names(tmp_path) == []
    (tmp_path / "file.bin").write_bytes(b"old")
    with pytest.raises(FetchError):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", sha256="00", patience=QUICK)
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_fetch_of_nothing_fails_at_once(url: str, script: Script, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="answers HTTP 404"):
        fetch(f"{url}/none.bin", tmp_path / "file.bin", patience=QUICK)
    assert names(tmp_path) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_fetch_over_the_limit_leaves_nothing(
    url: str, script: Script, tmp_path: Path, chunked: bool
) -> None:
    script.chunked = chunked
    with pytest.raises(FetchError, match="the limit of 1000"):
        fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=Patience(max_bytes=1000))
    assert names(tmp_path) == []


def test_fetch_follows_redirects_to_safe_places_alone(url: str, tmp_path: Path) -> None:
    fetch(f"{url}/to//file.bin", tmp_path / "file.bin", sha256=SHA256, patience=QUICK)
    with pytest.raises(FetchError, match=r"refused http://example.org/x \(redirected from"):
        fetch(f"{url}/to/http://example.org/x", tmp_path / "other.bin", patience=QUICK)
    with pytest.raises(FetchError, match="redirects in a circle"):
        fetch(f"{url}" + "/to/" * 9, tmp_path / "other.bin", patience=QUICK)
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(
    "address",
    ["http://example.org/x", "http://10.0.0.1/x", "ftp://example.org/x", "file:///etc/passwd", "x"],
)
def test_fetch_refuses_what_is_not_https(address: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="expected https://"):
        fetch(address, tmp_path / "x")
    assert names(tmp_path) == []


def test_fetch_asks_no_proxy_of_the_environment(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)[0] == SHA256
    patience = Patience(attempts=1, proxy="http://127.0.0.1:9")
    with pytest.raises(FetchError, match="1 attempts"):
        fetch(f"{url}/file.bin", tmp_path / "other.bin", patience=patience)


def test_fetch_beside_another_one_is_refused(url: str, script: Script, tmp_path: Path) -> None:
    def meanwhile(done: int, total: int | None) -> None:
        with pytest.raises(FetchError, match="being written by another fetch"):
            fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK)

    fetch(f"{url}/file.bin", tmp_path / "file.bin", patience=QUICK, progress=meanwhile)
    assert (tmp_path / "file.bin").read_bytes() == BODY
