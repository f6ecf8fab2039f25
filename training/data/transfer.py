"""One attempt to receive a file over HTTP, from where the last one broke off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO

import httpx

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int | None], None]
"""Is told the bytes that are there, and the bytes in all if they are known."""


class FetchError(ValueError):
    """A file cannot be fetched; the message says which, why, and what to do, in one line."""


class BrokenOffError(Exception):
    """The transfer failed in a way that another attempt may mend.

    Attributes:
        wait_s: Seconds that the server asks to wait.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def receive(
    client: httpx.Client,
    url: str,
    file: IO[bytes],
    state: Path,
    *,
    max_bytes: int,
    progress: Progress | None = None,
) -> None:
    """Ask for what is missing of a file and append it; returns when the file is complete.

    Args:
        client: Follows redirects, asks for no compression.
        url: Of the whole file.
        file: What has come so far; opened for appending and reading.
        state: File that keeps the version (ETag or date) that ``file`` is the beginning of.
        max_bytes: Of the whole file.
        progress: Is told how far it is.

    Raises:
        FetchError: If the server refuses, or the file is too large.
        BrokenOffError: If another attempt may help; so do the transport errors of httpx.
    """
    have, version = size_of(file), _read_version(state, url)
    headers = {"range": f"bytes={have}-", "if-range": version} if have and version else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if have and _whole(response) == have:
                return
            state.unlink(missing_ok=True)  # so that the next attempt begins anew
            raise BrokenOffError("HTTP 416: the file has become shorter")
        start, total = _extent(response, have)
        if total is not None and total > max_bytes:
            raise FetchError(f"{url} has {total} bytes, over the limit of {max_bytes}: raise it")
        file.truncate(start)
        _write_version(state, url, response)
        done = start
        for chunk in response.iter_raw():  # of no fixed size, which would hold the last ones back
            done += len(chunk)
            if done > max_bytes:
                file.truncate(0)
                raise FetchError(f"{url} has more bytes than the limit of {max_bytes}: raise it")
            file.write(chunk)
            if progress:
                progress(done, total)
    file.flush()
    if total is not None and done != total:
        raise BrokenOffError(f"{done} of {total} bytes came")


def size_of(file: IO[bytes]) -> int:
    """Return the size of an open file, in bytes."""
    return file.seek(0, 2)


def _extent(response: httpx.Response, have: int) -> tuple[int, int | None]:
    """Tell where the answer begins, and the size of the whole file."""
    status = response.status_code
    if status in _AGAIN:
        asked = response.headers.get("retry-after", "")
        raise BrokenOffError(f"HTTP {status}", float(asked) if asked.isdecimal() else 0.0)
    if status not in (200, 206):
        raise FetchError(f"{response.url} answers HTTP {status}: check the address")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchError(f"{response.url} answers compressed, which was not asked for")
    if status == 206:
        span = response.headers.get("content-range", "").removeprefix("bytes ")
        first = span.partition("-")[0]
        if not first.isdecimal() or int(first) != have:
            raise FetchError(f"{response.url} answers the range {span!r}; expected from {have} on")
        return have, _whole(response)
    length = response.headers.get("content-length", "")
    if not length.isdecimal() and "chunked" not in response.headers.get("transfer-encoding", ""):
        raise FetchError(f"{response.url} does not tell its size: a broken transfer would not show")
    return 0, int(length) if length.isdecimal() else None


def _whole(response: httpx.Response) -> int | None:
    whole = response.headers.get("content-range", "").rpartition("/")[2]
    return int(whole) if whole.isdecimal() else None


def _read_version(state: Path, url: str) -> str:
    try:
        kept = json.loads(state.read_text(encoding="utf-8"))
        return kept["version"] if kept["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # without it the file begins anew


def _write_version(state: Path, url: str, response: httpx.Response) -> None:
    """Keep what tells this version of the file from another; weak ETags do not."""
    tag = response.headers.get("etag", "")
    version = tag if tag.startswith('"') else response.headers.get("last-modified", "")
    state.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
