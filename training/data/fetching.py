"""Files over the network: resumed where they broke off, checked, and there whole or not at all.

What has come lies in ``NAME.part``, and in ``NAME.part.json`` what tells its version, so that
another process can go on. A server that cannot resume is asked for the whole again.
"""

import fcntl
import hashlib
import ipaddress
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from training.data.transfer import BrokenOffError, FetchError, Progress, receive, size_of

_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how much.

    Attributes:
        attempts: In a row that bring nothing, until giving up.
        wait_s: Before the second attempt, in seconds; doubled for each further one.
        timeout_s: Without a byte, in seconds.
        max_bytes: Of a file.
        proxy: Address of a proxy; empty for none (the environment is not asked).
    """

    attempts: int = 5
    wait_s: float = 1.0
    timeout_s: float = 30.0
    max_bytes: int = 4 << 30
    proxy: str = ""


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> tuple[str, int]:
    """Fetch a file.

    Args:
        url: With https; with http only if the host is this machine.
        path: Where it goes; replaced if there is one.
        sha256: Its checksum if known; what does not have it is thrown away.
        patience: Attempts, times and sizes.
        progress: Is told how far it is.

    Returns:
        The checksum and the size of the file.

    Raises:
        FetchError: If it cannot be had, is too large, or has another checksum.
        OSError: If it cannot be written.
    """
    patience = patience or Patience()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    state = path.with_name(f"{path.name}.part.json")
    with _client(url, patience) as client, _alone(part, state) as file:
        _receive_patiently(client, url, file, state, patience, progress)
        os.fsync(file.fileno())
        file.seek(0)
        found, size = _checksum(file), file.tell()
        if sha256 and found != sha256:
            part.unlink()
            raise FetchError(
                f"{url} has sha256 {found}; expected {sha256}: the source has changed, or someone "
                "changed it on its way; nothing was kept"
            )
        part.replace(path)
    return found, size


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return _checksum(file)


def _checksum(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _alone(part: Path, state: Path) -> Iterator[IO[bytes]]:
    """Open what has come so far, for one process alone."""
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The other one may have ended in between, and its file be in its place already.
            alone = part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            alone = False
        if not alone:
            raise FetchError(f"{part} is being written by another fetch: let that one end")
        try:
            yield file
        finally:
            if part.exists() and not size_of(file):
                part.unlink()
            if not part.exists():
                state.unlink(missing_ok=True)


def _client(url: str, patience: Patience) -> httpx.Client:
    try:
        origin = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(f"{url!r} is no address: {error}") from None
    _require_safe(origin, origin)
    return httpx.Client(
        follow_redirects=True,
        max_redirects=5,
        timeout=patience.timeout_s,
        proxy=patience.proxy or None,
        trust_env=False,
        event_hooks={"request": [lambda request: _require_safe(request.url, origin)]},
        headers={"accept-encoding": "identity", "user-agent": "tyntegra"},
    )


def _require_safe(url: httpx.URL, origin: httpx.URL) -> None:
    """Refuse what could be read or changed on its way, redirects to it included."""
    local = url.scheme == origin.scheme == "http" and _is_loopback(url.host)
    if url.scheme != "https" and not local:
        through = f" (redirected from {origin})" if origin != url else ""
        raise FetchError(
            f"refused {url}{through}: expected https://, for on any other way the file could be "
            "changed; http:// is for this machine alone"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _receive_patiently(
    client: httpx.Client,
    url: str,
    file: IO[bytes],
    state: Path,
    patience: Patience,
    progress: Progress | None,
) -> None:
    failures, most = 0, 0
    while True:
        try:
            return receive(
                client, url, file, state, max_bytes=patience.max_bytes, progress=progress
            )
        except httpx.TooManyRedirects:
            raise FetchError(f"{url} redirects in a circle, or too often") from None
        except (httpx.TransportError, BrokenOffError) as error:
            size = size_of(file)
            failures = failures + 1 if size <= most else 1
            most = max(most, size)
            if failures >= patience.attempts:
                raise FetchError(
                    f"cannot fetch {url}: {str(error) or type(error).__name__} ({failures} "
                    f"attempts; {size} bytes are kept): try again later to go on"
                ) from error
            asked = error.wait_s if isinstance(error, BrokenOffError) else 0.0
            time.sleep(min(_LONGEST_WAIT_S, max(asked, patience.wait_s * 2 ** (failures - 1))))
