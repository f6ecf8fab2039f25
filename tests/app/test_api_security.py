"""API keys and the Host header."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.security import accepted_hosts, load_keys
from app.errors import InvalidInputError
from app.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "correct-horse-battery-staple"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in ("other", KEY)]
    path.write_text(f"# keys\n\n{hashes[0]}  -\n{hashes[1].upper()} alice\n")
    return path


async def test_key_lets_pass_and_its_absence_does_not(start: Any, keys: Path) -> None:
    async with start(keys=keys) as running:
        get = running.client.get
        without = await get("/collections")
        known = await get("/collections", headers={"Authorization": f"Bearer {KEY}"})
        small = await get("/collections", headers={"Authorization": f"bearer  {KEY}"})
    assert without.status_code == 401
    assert without.headers["www-authenticate"].startswith("Bearer")
    assert without.headers["content-type"] == "application/problem+json"
    assert (known.status_code, small.status_code) == (200, 200)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"Bearer", b"Bearer ", b"Basic " + KEY.encode(), KEY.encode(), b"Bearer \xff\xfe"),
        *(b"Bearer " + KEY.encode() + b"x", b"Bearer " + b"k" * 10_000, "Bearer ключ".encode()),
        b"Bearer " + hashlib.sha256(KEY.encode()).hexdigest().encode(),
    ],
)
async def test_key_that_is_odd_or_wrong_is_401(start: Any, keys: Path, value: bytes) -> None:
    async with start(keys=keys) as running:
        response = await running.client.get(
            "/collections", headers=[(b"host", b"localhost"), (b"authorization", value)]
        )
    assert response.status_code == 401
    assert KEY not in response.text


async def test_key_sent_twice_is_401(start: Any, keys: Path) -> None:
    headers = [("Authorization", f"Bearer {KEY}")] * 2
    async with start(keys=keys) as running:
        response = await running.client.get("/collections", headers=headers)
    assert response.status_code == 401


async def test_key_is_asked_for_everywhere_but_on_health(start: Any, keys: Path) -> None:
    async with start(keys=keys) as running:
        paths = {route.path for route in running.app.routes if hasattr(route, "path")}
        paths |= set(running.app.openapi()["paths"])
        statuses = {
            path: (await running.client.get(path.replace("{doc_id:text}", "x"))).status_code
            for path in [*paths, "/nothing", "/health/live/", "//health/live", "/health/../docs"]
        }
    open_paths = {path for path, status in statuses.items() if status != 401}
    assert open_paths == {"/health/live", "/health/ready"}
    assert len(statuses) > 10


async def test_key_never_shows_in_log_or_metrics(
    start: Any, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with start(keys=keys, log="debug") as running:
        await running.client.post("/embed", json={"inputs": "!bug"}, headers=headers)
        metrics = (await running.client.get("/metrics", headers=headers)).text
    logged = capfd.readouterr().err
    assert "request failed" in logged
    assert KEY not in logged + metrics


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no key"),
        ("# none\n", "holds no key"),
        ("secret\n", "Line 1 of"),
        ("a" * 63, "64 hex"),
    ],
)
def test_load_keys_refuses_a_file_without_hashes(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=message) as refusal:
        load_keys(path)
    assert "secret" not in refusal.value.message


def test_load_keys_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="TYNTEGRA_KEYS names"):
        load_keys(tmp_path / "keys")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("", 400),
        ("a/b?c#d", 400),
        ("[::", 400),
        ("localhost:", 400),
        ("localhost:80:80", 400),
        ("localhost@evil", 400),
        ("\xff", 400),
    ],
)
async def test_host_is_one_of_the_loopback_names(start: Any, host: str, status: int) -> None:
    async with start() as running:
        response = await running.client.get(
            "/health/live", headers=[(b"host", host.encode("latin-1"))]
        )
    assert response.status_code == status
    assert "evil" not in response.text


async def test_host_missing_or_repeated_is_refused(start: Any) -> None:
    async with start() as running:
        for hosts in ([], [b"localhost", b"localhost"]):
            request = httpx.Request("GET", "http://localhost/health/live")
            request.headers = httpx.Headers([(b"host", host) for host in hosts])
            response = await running.client.send(request)
            assert response.status_code == 400


@pytest.mark.parametrize(
    ("chosen", "accepted"),
    [
        ({"host": "0.0.0.0"}, set()),
        ({"host": "::"}, set()),
        ({"host": "example.org"}, set()),
        ({"host": "127.0.0.9"}, {"localhost", "127.0.0.1", "[::1]", "127.0.0.9"}),
        ({"host": "localhost"}, {"localhost", "127.0.0.1", "[::1]"}),
        ({"host": "0.0.0.0", "hosts": "API.example"}, {"api.example"}),
        ({"hosts": "a,b"}, {"a", "b"}),
    ],
)
def test_accepted_hosts_follow_the_address(chosen: dict[str, Any], accepted: set[str]) -> None:
    assert accepted_hosts(Settings.model_validate(chosen)) == accepted
