"""The whole path: bitext to checkpoint to artifact to an answered and attacked query."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TYNTEGRA_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "bitext").is_dir(),
        reason=f"no corpora at {DATA}: set TYNTEGRA_DATA to the folder with bitext/ and eval/",
    ),
]


def run(*arguments: str | Path) -> str:
    """Run a module of the project as a user would; its output is shown where it fails."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("path")
    checkpoint, target = folder / "checkpoint", folder / "artifact"
    run("training", "training/configs/tiny.toml", "--out", checkpoint)
    run("export", checkpoint, target)
    return target


def test_exported_artifact_records_its_verification(artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))

    assert set(manifest["precisions"]) == {"fp32", "int8"}
    assert manifest["verification"]
    assert {file["path"] for file in manifest["files"]} | {"manifest.json"} == {
        path.relative_to(artifact).as_posix() for path in artifact.rglob("*") if path.is_file()
    }


def test_service_answers_and_attacks_a_query_with_the_trained_encoder(
    artifact: Path, tmp_path: Path
) -> None:
    settings = Settings.from_env(
        {
            "TYNTEGRA_ARTIFACT": str(artifact),
            "TYNTEGRA_STATE": str(tmp_path / "state"),
            "TYNTEGRA_DEMO": "true",
        }
    )
    asyncio.run(embed_search_probe(settings))


async def embed_search_probe(settings: Settings) -> None:
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await until_ready(client)
        text = "How can I make river water safe to drink?"
        embedded = await post(client, "/embed", {"inputs": [text, "Maji safi ya kunywa"]})
        norms = np.linalg.norm(np.asarray(embedded["embeddings"]), axis=1)
        assert norms == pytest.approx(1.0, abs=1e-3)

        found = await post(client, "/search", {"collection": "demo", "queries": text, "top_k": 5})
        assert [hit["rank"] for hit in found["results"][0]["hits"]] == [1, 2, 3, 4, 5]

        report = await post(
            client,
            "/probe/adversarial",
            {
                "collection": "demo",
                "queries": [{"query_id": "q1", "text": text, "lang": "eng_Latn"}],
                "attacks": ["typo"],
                "budget": {"edits": 2, "queries": 64, "seconds": 20},
                "top_k": 10,
                "seed": 0,
            },
        )
        (result,) = report["results"]
        assert result["clean_rank"] == 1
        reference = found["results"][0]["hits"][0]["doc_id"]
        again = await post(
            client,
            "/search",
            {"collection": "demo", "queries": result["adversarial_text"], "top_k": 1000},
        )
        ranks = {hit["doc_id"]: hit["rank"] for hit in again["results"][0]["hits"]}
        assert ranks[reference] == result["worst_rank"]


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        if (await client.get("/health/ready")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the service was not ready within 60 s")


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()
