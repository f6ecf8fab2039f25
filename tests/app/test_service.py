"""The service with its real encoder and store: any Unicode text and any document name."""

import asyncio
import signal
import unicodedata
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.main import create_app
from app.operations import document_path
from app.server import build_server
from app.settings import Settings

pytestmark = pytest.mark.anyio

TEXTS = [
    *("plain", "Habari ya asubuhi", "日本語のテキスト", "မြန်မာ", "ትግርኛ", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "ᱥᱟᱱᱛᱟᱲᱤ"),
    *("שלום עולם", "مرحبا بالعالم", "नमस्ते", "\U0001f468\u200d\U0001f469", "e\u0301", "ﬁ", "İ"),
    *("a" + "\u0300" * 200, "\ufdfa" * 400, "\u202eabc\u202c", "x\u200by", "a\u0000b"),
    *("\U000e0041a", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\ufeffa", "ß", "\ufffd", "\uffff", "😀" * 100, "a" * 8192),
]


@pytest.fixture
async def client(tiny_artifact: Path, tmp_path: Path) -> Any:
    settings = Settings(artifact=tiny_artifact, state=tmp_path, demo=False, log="error")
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        async with asyncio.timeout(60):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        yield client


async def embed(client: httpx.AsyncClient, texts: list[str]) -> Any:
    response = await client.post("/embed", json={"inputs": texts})
    assert response.status_code == 200, response.text
    rows = np.array(response.json()["embeddings"])
    assert rows.shape == (len(texts), 64)
    assert np.isfinite(rows).all()
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    return rows


async def test_any_text_has_one_vector_alone_and_among_others(client: httpx.AsyncClient) -> None:
    together = await embed(client, TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        alone = (await embed(client, [text]))[0]
        assert alone @ row > 0.9999


@pytest.mark.slow
async def test_every_assigned_character_is_embedded_or_refused(client: httpx.AsyncClient) -> None:
    points = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    refused = 0
    for point in points[:: len(points) // 500]:
        response = await client.post("/embed", json={"inputs": chr(point)})
        assert response.status_code in (200, 422), hex(point)
        refused += response.status_code == 422
    assert refused < 20
    lines = [chr(p) for p in points]
    for start in range(0, len(lines), 2000):
        # Among letters, so that none is refused for being invisible.
        await embed(client, ["a" + "b".join(lines[start : start + 2000])])


async def test_any_document_name_is_kept_by_the_store(client: httpx.AsyncClient) -> None:
    names = ["a/b", ".", "..", "/", " ", "%2F", "\u0000", "\u202e", "日本", "😀" * 128, "x" * 512]
    names += ["é", "e\u0301", "A", "a", "a\n", "'\"", "{}", "\ufffd"]
    metadata = {"n": 2**53 + 1, "f": 0.1, "b": False, "s": "\u0000 é"}
    documents = [{"doc_id": n, "text": "some text", "metadata": metadata} for n in names]
    await client.put("/collections/a")
    added = await client.post("/collections/a/documents", json={"documents": documents})
    assert added.json() == {"upserted": len(names), "truncated": []}
    for document in documents:
        read = await client.get(document_path("a", document["doc_id"]))
        assert read.json() == document | {"lang": None}
    for left, name in reversed(list(enumerate(names))):
        assert (await client.delete(document_path("a", name))).status_code == 204
        assert (await client.get("/collections/a")).json()["documents"] == left


async def test_signal_ends_probes_once_drained(start: Any) -> None:
    async with start() as running:
        server = build_server(running.app, running.service.settings)
        await server.on_tick(1)
        assert not running.service.stopping.is_set()
        server.handle_exit(signal.SIGTERM, None)
        assert await server.on_tick(1)
        assert running.service.stopping.is_set()
