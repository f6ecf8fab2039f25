"""What can be scored, opened under one roof: artifacts, checkpoints, others' folders, services.

All become two functions from texts to unit rows, one for queries and one for documents. torch is
imported only where a torch encoder is loaded, ONNX Runtime only for artifacts.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from app.retrieval.store import Encode
from training.xtyntegra.errors import BenchmarkError

Kind = Literal["artifact", "checkpoint", "sentence-transformers", "url"]
_MANIFEST, _MODULES = "manifest.json", "modules.json"
_HASHED = {".json", ".safetensors", ".txt", ".model"}
"""Suffixes of the files of a folder that can decide its vectors."""
_EXPECTED = (
    "an artifact that `python -m export` wrote, a checkpoint of `python -m training`, a folder of "
    "sentence-transformers or transformers, or the URL of a service"
)


@dataclass(frozen=True, slots=True)
class OpenEncoder:
    """An encoder that is ready to be scored.

    Attributes:
        name: For titles.
        kind: What it was opened from.
        identity: What its vectors follow from: the artifact's ``model_id``, a hash of the weights,
            or the model's name and address.
        encode_query: Queries to unit rows.
        encode_document: Documents to unit rows.
        artifact: Folder where graphs of the white box may be, or None.
        runtime: What it runs on, for the record.
    """

    name: str
    kind: Kind
    identity: str
    encode_query: Encode
    encode_document: Encode
    artifact: Path | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opening:
    """Choices that some encoders need.

    Attributes:
        device: Where an artifact or a folder runs: auto, cpu or cuda.
        precision: Which of an artifact's graphs.
        pooling: Of a plain transformers folder, which does not say it.
        max_tokens: Where to cut texts, of a folder that does not say it.
        model: Name of a model behind ``/v1/embeddings``; None: the URL is a Tyntegra service.
        prompts: Put before texts sent to ``/v1/embeddings``, by role: query, document.
        key: API key of the service.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: str = "auto"
    pooling: Literal["mean", "cls", "last"] | None = None
    max_tokens: int | None = None
    model: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@contextmanager
def open_encoder(source: str, opening: Opening | None = None) -> Iterator[OpenEncoder]:
    """Open what is to be scored, for the time of a ``with``.

    Args:
        source: Folder of an artifact, a checkpoint, or an encoder that sentence-transformers or
            transformers saved; or the URL of a service.
        opening: Choices; None: the defaults.

    Raises:
        BenchmarkError: If there is no such thing, it is damaged, or an extra is not installed.
        ServiceError: If an artifact is not what its manifest says, or a service does not answer.
    """
    chosen = opening or Opening()
    with _opener(source)(source, chosen) as encoder:
        yield encoder


def is_url(source: str) -> bool:
    """Tell whether a source is a service, and no folder."""
    return source.startswith(("http://", "https://"))


def _opener(source: str) -> Callable[[str, Opening], AbstractContextManager[OpenEncoder]]:
    if is_url(source):
        return _service
    folder = Path(source)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise BenchmarkError(f"{source}: got {got}; expected {_EXPECTED}.")
    if (folder / _MODULES).is_file():
        return _folder
    if (folder / _MANIFEST).is_file() and not _is_checkpoint(folder):
        return _artifact
    if (folder / "config.json").is_file():
        return _folder
    held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise BenchmarkError(f"{source}: got a folder that holds {held}; expected {_EXPECTED}.")


@contextmanager
def _artifact(source: str, chosen: Opening) -> Iterator[OpenEncoder]:
    try:
        from app.encoder.encoder import TextEncoder
    except ModuleNotFoundError as error:
        raise _missing(source, error, "cpu") from error

    _refuse(source, chosen, "pooling", "max_tokens", "model", "prompts")
    encoder = TextEncoder.open(Path(source), device=chosen.device, precision=chosen.precision)
    prompts = encoder.manifest.prompts
    try:
        yield OpenEncoder(
            name=encoder.model_id,
            kind="artifact",
            identity=f"{encoder.model_id}/{encoder.precision}",
            encode_query=encoder.encode_query,
            # Without prompts both are one function, and a text that is both is encoded once.
            encode_document=encoder.encode_query
            if prompts.query == prompts.document
            else encoder.encode_document,
            artifact=Path(source),
            runtime={
                "onnxruntime": version("onnxruntime"),
                "precision": encoder.precision,
                "provider": encoder.provider,
                "threads": encoder.threads,
            },
        )
    finally:
        encoder.close()


@contextmanager
def _folder(source: str, chosen: Opening) -> Iterator[OpenEncoder]:
    try:
        import torch
        from tokenizers import Tokenizer

        from app.errors import ArtifactError

        # What export accepts gives the vectors of the library that saved it, or is refused.
        from export.sources import load_source
        from training.checkpoint import CheckpointError
        from training.model import as_encode
    except ModuleNotFoundError as error:
        raise _missing(source, error, "train") from error

    _refuse(source, chosen, "precision", "model", "prompts")
    folder = Path(source)
    try:
        found = load_source(folder, chosen.pooling, chosen.max_tokens)
    except (CheckpointError, ArtifactError) as error:
        raise BenchmarkError(str(error)) from error
    device = _torch_device(chosen.device, cuda=torch.cuda.is_available())
    encoder, tokenizer = found.encoder.to(device), Tokenizer.from_str(found.tokenizer)
    prompts = found.config.prompts
    query = as_encode(encoder, tokenizer, role="query")
    same = prompts.get("query", "") == prompts.get("document", "")
    yield OpenEncoder(
        name=folder.resolve().name,
        kind="checkpoint" if _is_checkpoint(folder) else "sentence-transformers",
        identity=f"sha256:{_fingerprint(folder)}",
        encode_query=query,
        encode_document=query if same else as_encode(encoder, tokenizer, role="document"),
        runtime={
            "torch": torch.__version__,
            "device": device,
            "threads": torch.get_num_threads(),
            "pooling": found.config.pooling,
            "max_tokens": found.config.max_tokens,
            "prompts": dict(prompts),
        },
    )


@contextmanager
def _service(source: str, chosen: Opening) -> Iterator[OpenEncoder]:
    from training.xtyntegra.remote import Remote, open_remote

    _refuse(source, chosen, "device", "precision", "pooling", "max_tokens")
    if chosen.prompts and chosen.model is None:
        raise BenchmarkError(
            f"{source}: got prompts for a Tyntegra service, which has its own; expected none, or "
            "--model NAME for another service's /v1/embeddings."
        )
    remote: Remote
    with open_remote(source, chosen.model, chosen.prompts, chosen.key) as remote:
        yield OpenEncoder(
            name=remote.name,
            kind="url",
            identity=f"{remote.identity} at {source}",
            encode_query=remote.encode_query,
            encode_document=remote.encode_document,
            runtime=remote.runtime,
        )


def _is_checkpoint(folder: Path) -> bool:
    """Tell a checkpoint of ours, whose manifest lists its files, from an artifact."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)


def _fingerprint(folder: Path) -> str:
    """Hash the names and contents of the files that can decide a folder's vectors."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        ours = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in ours.parts)
        if path.suffix not in _HASHED or hidden or not path.is_file():
            continue
        if ours.name in ("state.safetensors", "state.json", "run.json", _MANIFEST):
            continue  # of a checkpoint: how training goes on, not what the encoder is
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{ours.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _torch_device(asked: str, *, cuda: bool) -> str:
    if asked == "cuda" and not cuda:
        raise BenchmarkError("got --device cuda; torch finds no GPU: use --device cpu or auto.")
    return "cuda" if cuda and asked != "cpu" else "cpu"


def _refuse(source: str, chosen: Opening, *names: str) -> None:
    """Refuse choices that would have no effect."""
    plain = Opening()
    if idle := [name for name in names if getattr(chosen, name) != getattr(plain, name)]:
        given = " and ".join("--" + name.replace("_", "-") for name in idle)
        raise BenchmarkError(f"{source}: got {given}, which has no meaning for it: leave it out.")


def _missing(source: str, error: ModuleNotFoundError, extra: str) -> BenchmarkError:
    return BenchmarkError(
        f"{source} needs {error.name}, which is not installed: install the project with its extra, "
        f"as in pip install '.[{extra}]'."
    )
