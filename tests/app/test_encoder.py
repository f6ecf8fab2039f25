import asyncio
import shutil
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.artifact import GOLDEN, MANIFEST, Manifest, load_manifest
from app.checked import describe_file
from app.encoder.encoder import BLOCK_TEXTS, TextEncoder
from app.encoder.golden import pack_golden
from app.encoder.hardware import Hardware
from app.errors import (
    ArtifactError,
    InvalidInputError,
    NotReadyError,
)
from export.golden import GOLDEN_TEXTS

TIMEOUT_S = 20


@pytest.fixture(scope="module", params=["int8", "fp32"])
def encoder(request: pytest.FixtureRequest, tiny_artifact: Path) -> Iterator[TextEncoder]:
    opened = TextEncoder.open(tiny_artifact, device="cpu", precision=request.param)
    yield opened
    opened.close()


@pytest.fixture
def narrow(tiny_artifact: Path) -> Iterator[TextEncoder]:
    """An encoder whose queue holds 20 texts."""
    opened = TextEncoder.open(tiny_artifact, device="cpu", queue_texts=20)
    yield opened
    opened.close()


def test_open_reports_what_it_runs(encoder: TextEncoder) -> None:
    assert encoder.provider == "CPUExecutionProvider"
    assert encoder.model_id == encoder.manifest.model_id
    assert encoder.dim == 64
    assert encoder.healthy() is None
    assert encoder.threads >= 1


def test_open_replicas_give_the_same_vectors(encoder: TextEncoder, tiny_artifact: Path) -> None:
    hardware = Hardware("cpu", replicas=3)
    opened = TextEncoder.open(tiny_artifact, device=hardware, precision=encoder.precision)
    texts = [f"the harvest of year {n} " * (1 + n % 7) for n in range(300)]

    np.testing.assert_allclose(
        opened.encode(texts, "document").vectors,
        encoder.encode(texts, "document").vectors,
        rtol=0,
        atol=1e-6,
    )
    assert opened.threads == Hardware(replicas=3).threads_each
    opened.close()


def test_open_auto_takes_int8_on_the_cpu(tiny_artifact: Path) -> None:
    opened = TextEncoder.open(tiny_artifact, device="cpu")

    assert opened.precision == "int8"
    opened.close()


def test_encode_gives_unit_rows_tokens_and_flags(encoder: TextEncoder) -> None:
    encoded = encoder.encode(["Mtoto anacheza mpira.", "word " * 500], "query")

    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-3)
    assert encoded.vectors.dtype == np.float32
    assert encoded.truncated == [False, True]
    assert 64 < encoded.tokens < 128


def test_encode_text_alone_and_among_others_is_the_same(encoder: TextEncoder) -> None:
    texts = [*GOLDEN_TEXTS, "x", "word " * 500]
    together = encoder.encode(texts, "document").vectors

    for text, vector in zip(texts, together, strict=True):
        alone = encoder.encode([text], "document").vectors[0]
        np.testing.assert_allclose(alone, vector, rtol=0, atol=1e-6)


def test_encode_many_texts_keeps_their_order(encoder: TextEncoder) -> None:
    texts = [f"the harvest of year {n}" for n in range(2 * BLOCK_TEXTS + 10)]
    shuffled = np.random.default_rng(0).permutation(len(texts))

    plain = encoder.encode_document(texts)
    mixed = encoder.encode_document([texts[n] for n in shuffled])

    np.testing.assert_allclose(mixed, plain[shuffled], rtol=0, atol=1e-6)


def test_encode_no_texts_gives_no_rows(encoder: TextEncoder) -> None:
    assert encoder.encode_query([]).shape == (0, 64)


def test_encode_bad_text_names_its_number_and_leaves_the_queue_empty(encoder: TextEncoder) -> None:
    texts = ["fine"] * (BLOCK_TEXTS + 3)
    texts[BLOCK_TEXTS + 1] = " "

    with pytest.raises(InvalidInputError, match=rf"inputs\[{BLOCK_TEXTS + 1}\]"):
        encoder.encode(texts, "query")
    encoder.encode(["fine"], "query")
    assert encoder.waiting_texts == 0


@pytest.fixture
def nested(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> TextEncoder:
    """The encoder as if it had been trained to be cut to 8 or 16 dimensions."""
    manifest = encoder.manifest.model_copy(update={"matryoshka": [8, 16]})
    monkeypatch.setattr(encoder, "manifest", manifest)
    return encoder


def test_encode_fewer_dimensions_cuts_and_normalizes(nested: TextEncoder) -> None:
    whole = nested.encode(["some text"], "query").vectors
    cut = nested.encode(["some text"], "query", dimensions=8).vectors

    np.testing.assert_allclose(cut, whole[:, :8] / np.linalg.norm(whole[:, :8]), atol=1e-6)


@pytest.mark.parametrize("dimensions", [0, -1, 9, 65])
def test_encode_dimensions_not_trained_for_are_refused(
    nested: TextEncoder, dimensions: int
) -> None:
    with pytest.raises(InvalidInputError, match="expected one of 8, 16, 64"):
        nested.encode(["text"], "query", dimensions=dimensions)


def test_encode_dimensions_of_an_encoder_not_trained_to_be_cut_are_its_own(
    encoder: TextEncoder,
) -> None:
    whole = encoder.encode(["text"], "query", dimensions=64).vectors

    assert whole.shape == (1, 64)
    with pytest.raises(InvalidInputError, match="expected 64 or none"):
        encoder.encode(["text"], "query", dimensions=16)


def test_encode_windows_average_the_windows_by_their_tokens(encoder: TextEncoder) -> None:
    words = [f"maize{n}" for n in range(100)]
    text = " ".join(words)
    ids = encoder._reader.tokenizer.windows([text], "document")[0].rows
    parts = [asyncio.run(encoder.encode_ids_async([row])).vectors[0] for row in ids]
    expected = sum(len(row) * part for row, part in zip(ids, parts, strict=True))

    encoded = encoder.encode(["short", text, "short"], "document", windows=True)

    assert encoded.windows == [1, len(ids), 1]
    assert encoded.truncated == [False, False, False]
    assert sum(map(len, ids)) < encoded.tokens < sum(map(len, ids)) + 20
    assert len(ids) > 2
    np.testing.assert_allclose(
        encoded.vectors[1], expected / np.linalg.norm(expected), rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(encoded.vectors[0], encoded.vectors[2])


def test_encode_windows_of_short_texts_are_the_texts(encoder: TextEncoder) -> None:
    plain = encoder.encode(GOLDEN_TEXTS, "document")
    split = encoder.encode(GOLDEN_TEXTS, "document", windows=True)

    short = [n for n, is_cut in enumerate(plain.truncated) if not is_cut]
    assert len(short) > 10
    np.testing.assert_allclose(split.vectors[short], plain.vectors[short], rtol=0, atol=1e-6)


def test_encode_windows_more_than_the_queue_holds_are_done_in_turn(narrow: TextEncoder) -> None:
    text = " ".join(f"maize{n}" for n in range(800))

    encoded = narrow.encode([text], "document", windows=True)

    assert encoded.windows[0] > 20
    assert narrow.waiting_texts == 0


def test_encode_every_kind_of_character_gives_a_finite_unit_vector(encoder: TextEncoder) -> None:
    # One of each category in each block of 256, which covers every script and every oddity.
    seen: dict[tuple[int, str], str] = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cs", "Cn"):
            seen.setdefault((code >> 8, category), chr(code))
    texts = [
        *(f"{character}a" for character in seen.values()),
        "a\u0301" * 200,
        "👩\u200d👩\u200d👧",
    ]

    vectors = encoder.encode_document(texts)

    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


def test_encode_from_many_threads_mixes_nothing_up(encoder: TextEncoder) -> None:
    texts = [f"{word} {n}" for n in range(50) for word in ("fish", "maize", "doctor")]
    expected = encoder.encode_document(texts)

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda text: encoder.encode([text], "document").vectors[0], texts))

    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_closed_encoder_refuses_and_says_so(tiny_artifact: Path) -> None:
    opened = TextEncoder.open(tiny_artifact, device="cpu")
    opened.close()
    opened.close()

    assert opened.healthy() == "the encoder is closed"
    with pytest.raises(NotReadyError, match="closed"):
        opened.encode(["text"], "query")


def test_open_other_golden_vectors_are_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    """A consistent artifact whose graph computes something else than was exported."""
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))
    manifest = load_manifest(folder)
    wrong = np.random.default_rng(0).standard_normal((len(GOLDEN_TEXTS), manifest.dim))
    rows = wrong.astype(np.float32)
    (folder / GOLDEN).write_bytes(pack_golden(GOLDEN_TEXTS, {"int8": rows, "fp32": rows}))
    (folder / MANIFEST).unlink()
    files = [describe_file(folder / file.path) for file in manifest.files]
    Manifest(**{**dict(manifest), "files": files}).write(folder)

    with pytest.raises(ArtifactError, match="golden one of text"):
        TextEncoder.open(folder, device="cpu")


def test_open_missing_precision_is_refused(tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="got precision=fp16"):
        TextEncoder.open(tiny_artifact, device="cpu", precision="fp16")
