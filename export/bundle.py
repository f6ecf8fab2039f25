"""The artifact's folder, put together beside its place and moved there whole.

Whatever fails on the way, verification above all, leaves nothing behind: the folder gets its name
only when everything in it has been checked by the code that will serve it.
"""

import datetime
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from app.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL_CARD,
    TOKENIZER,
    Graph,
    Manifest,
    Precision,
    Prompts,
    Source,
    model_id,
)
from app.checked import describe_file
from app.encoder.golden import pack_golden
from app.encoder.session import Session
from app.encoder.tokenizer import Tokenizer
from app.errors import ArtifactError
from export.golden import GOLDEN_TEXTS
from export.parts import GraphSet, placed, write_weights

_PACKAGES = ("tyntegra", "onnx", "onnxruntime", "tokenizers", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class Contents:
    """What an artifact is made of.

    Attributes:
        graphs: For each precision its graphs.
        matryoshka: Dimensions that a vector may be cut to, ascending.
        card: The model card, Markdown.
        metrics: Figures by evaluation set, plain JSON.
        verification: What was compared, with which tolerance, and what came out; plain JSON.
    """

    name: str
    dim: int
    vocab_size: int
    max_tokens: int
    pad_id: int
    pooling: Literal["mean", "cls", "last"]
    tokenizer: bytes
    graphs: Mapping[Precision, GraphSet]
    licence: str
    prompts: Prompts = field(default_factory=Prompts)
    matryoshka: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    card: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)


@contextmanager
def staged(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its place if the block ends well.

    Args:
        out: Where the artifact shall stand.
        replace: Remove the artifact that stands there, once the new one is complete.

    Raises:
        ArtifactError: If ``out`` exists and is not to be replaced, or is no artifact.
    """
    if out.exists() and not replace:
        raise ArtifactError(
            f"{out}: got a path that exists; expected a new one. Name another folder, or replace "
            "it with --replace."
        )
    if out.exists() and not (out / MANIFEST).is_file():
        raise ArtifactError(
            f"{out}: got a path to replace that holds no {MANIFEST}; expected an artifact. Name "
            "the right folder, or remove this one yourself."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    folder.chmod(0o755)
    try:
        yield folder
        if out.exists():
            # Moved aside first: a crash then leaves the old one or the new one, whole.
            old = out.rename(folder.with_name(f"{folder.name}.old"))
            folder.rename(out)
            shutil.rmtree(old)
        else:
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_artifact(folder: Path, contents: Contents) -> Manifest:
    """Write an artifact's files into an empty folder, the manifest last.

    Raises:
        ArtifactError: If tokenizer, graphs and figures do not fit together.
    """
    _write(folder / TOKENIZER, contents.tokenizer)
    for precision, graphs in contents.graphs.items():
        names = name_graphs(precision, graphs)
        places = write_weights(folder / names.weights, graphs.tensors) if names.weights else {}
        write_models(folder, graphs.models(), names, names.weights or "", places)
    _write(folder / MODEL_CARD, contents.card.encode())
    _write(folder / GOLDEN, b"")
    # Golden vectors need a manifest to encode by, so they are filled in after a first one.
    _write(folder / GOLDEN, _golden(folder, describe(folder, contents), contents))
    manifest = describe(folder, contents)
    manifest.write(folder)
    return manifest


def name_graphs(precision: Precision, graphs: GraphSet) -> Graph:
    """Name the files of a precision."""
    names = {
        role: f"{'model' if role == 'graph' else role}.{precision}.onnx" for role in graphs.models()
    }
    weights = f"model.{precision}.safetensors" if graphs.tensors else None
    return Graph(**names, weights=weights)


def write_models(
    folder: Path,
    models: Mapping[str, onnx.ModelProto],
    names: Graph,
    location: str,
    places: Mapping[str, tuple[int, int]],
) -> None:
    """Write graphs by role, and check each.

    Args:
        folder: Where.
        models: By their role in the manifest.
        names: Of their files.
        location: Name of the file beside them that holds their outside tensors.
        places: Offset and length in bytes of each of these.
    """
    for role, model in models.items():
        path = folder / getattr(names, role)
        filled = placed(model, location, places)
        _write(path, filled.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path), full_check=True)


def describe(folder: Path, contents: Contents) -> Manifest:
    """Make the manifest of the files that stand in a folder."""
    precisions: dict[Precision, Graph] = {
        precision: name_graphs(precision, graphs) for precision, graphs in contents.graphs.items()
    }
    names = [
        *(TOKENIZER, GOLDEN, MODEL_CARD),
        *(name for graph in precisions.values() for name in graph.names),
    ]
    files = [describe_file(folder / name) for name in sorted(names)]
    return Manifest(
        model_id=model_id(contents.name, files, precisions),
        name=contents.name,
        dim=contents.dim,
        vocab_size=contents.vocab_size,
        max_tokens=contents.max_tokens,
        pad_id=contents.pad_id,
        pooling=contents.pooling,
        prompts=contents.prompts,
        matryoshka=list(contents.matryoshka),
        precisions=precisions,
        default_precision=next(
            one for one in ("int8", "int4", "fp32", "fp16") if one in precisions
        ),
        files=files,
        languages=list(contents.languages),
        licence=contents.licence,
        sources=list(contents.sources),
        metrics=contents.metrics,
        verification=contents.verification,
        versions=versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def versions() -> dict[str, str]:
    """List what the figures were made with: our commit, Python, and the packages installed."""
    found = {"python": platform.python_version()}
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found["commit"] = done.stdout.strip()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def _golden(folder: Path, draft: Manifest, contents: Contents) -> bytes:
    tokenizer = Tokenizer(contents.tokenizer, draft)
    rows = [row.ids for row in tokenizer.tokenize(GOLDEN_TEXTS, "document")]
    vectors: dict[Precision, NDArray[np.float32]] = {}
    for precision, graph in draft.precisions.items():
        session = Session(
            (folder / graph.graph).read_bytes(),
            draft,
            weights=(folder / graph.weights).read_bytes() if graph.weights else None,
            device="cpu",
            threads=1,
        )
        vectors[precision] = session.run(rows)
        if not np.isfinite(vectors[precision]).all():
            raise ArtifactError(
                f"{graph.graph}: got vectors that are not finite; expected numbers. "
                "The checkpoint is broken: look at its weights."
            )
    return pack_golden(GOLDEN_TEXTS, vectors)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
