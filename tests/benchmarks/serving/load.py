"""A closed loop of clients against one embedding server; needs nothing but the standard library.

    python load.py --url http://127.0.0.1:8000/embed --corpus texts.json --clients 8 --texts 32

Each client posts, waits for the answer and posts again. Bodies are written before the clock starts,
so that the client takes as little of the processor as it can. Prints one JSON object.
"""

import argparse
import asyncio
import json
import random
import resource
import time
from pathlib import Path
from urllib.parse import urlsplit


def bodies(texts: list[str], size: int, field: str, model: str, seed: int) -> list[bytes]:
    """Write one pass over the shuffled corpus as request bodies of ``size`` texts."""
    shuffled = random.Random(seed).sample(texts, len(texts))
    extra = {"model": model} if model else {}
    return [
        json.dumps({field: shuffled[start : start + size], **extra}).encode()
        for start in range(0, len(shuffled) - size + 1, size)
    ]


class Client:
    """One connection that is kept open; raises ConnectionError on any answer but 200."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(*self._address, limit=2**26)

    async def post(self, body: bytes) -> None:
        """Post and read the answer to its end."""
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"{head.splitlines()[0]!r} {answer[:300]!r}")

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def drive(url: str, posts: list[bytes], clients: int, seconds: float) -> list[float]:
    """Run the loop; returns the seconds of each request that began and ended in time."""
    taken: list[float] = []
    started = time.perf_counter()

    async def loop(number: int) -> None:
        client = Client(url)
        await client.open()
        at = number * len(posts) // clients
        while (begun := time.perf_counter()) - started < seconds:
            await client.post(posts[at % len(posts)])
            at += 1
            taken.append(time.perf_counter() - begun)
        client.close()

    await asyncio.gather(*map(loop, range(clients)))
    return taken


def quantile_ms(seconds: list[float], share: float) -> float:
    """Read a quantile off, in milliseconds."""
    ordered = sorted(seconds)
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--field", default="inputs")
    parser.add_argument("--model", default="")
    parser.add_argument("--seed", type=int, default=0)
    found = parser.parse_args()
    texts = json.loads(found.corpus.read_text())
    posts = bodies(texts, found.texts, found.field, found.model, found.seed)
    asyncio.run(drive(found.url, posts, found.clients, min(1.0, found.seconds / 4)))
    started = time.perf_counter()
    taken = asyncio.run(drive(found.url, posts, found.clients, found.seconds))
    elapsed = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "texts_per_s": len(taken) * found.texts / elapsed,
                "requests": len(taken),
                **{f"p{p}_ms": quantile_ms(taken, p / 100) for p in (50, 95, 99)},
                "client_cpu_s": usage.ru_utime + usage.ru_stime,
            }
        )
    )


if __name__ == "__main__":
    main()
