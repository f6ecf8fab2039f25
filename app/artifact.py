"""The artifact: the folder that export writes and the service reads, and its contract.

A folder is what its ``manifest.json`` says or it is refused: every file is listed with its size and
SHA-256, nothing else may lie beside them, and nothing may be a link. A file is opened once, and the
very bytes that were hashed are the bytes handed to ONNX Runtime and to the tokenizer, so nothing
can be exchanged in between. The manifest carries a digest over its own content. All this finds
damage and mix-ups; without a signature it does not stop an author with intent, who can write a new
manifest.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from app.checked import REMEDY, File, FileName, Frozen, Sha256, open_plain, read_file
from app.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
GOLDEN = "golden.json"
MODEL_CARD = "MODEL_CARD.md"
MAX_MANIFEST_BYTES = 16 * 2**20

Precision = Literal["fp32", "fp16", "int8", "int4"]


class Graph(Frozen):
    """The ONNX graphs of one precision; all of them take their weights from one file.

    Attributes:
        graph: input_ids, attention_mask -> sentence_embedding.
        weights: External data of this precision's graphs; None: they stand inside.
        lookup: White box: input_ids -> token_embeddings (batch, seq, hidden).
        encode: White box: token_embeddings, attention_mask -> sentence_embedding.
        gradient: White box: token_embeddings, attention_mask, cotangent (batch, dim) ->
            sentence_embedding, token_gradients (batch, seq, hidden).
    """

    graph: FileName
    weights: FileName | None = None
    lookup: FileName | None = None
    encode: FileName | None = None
    gradient: FileName | None = None

    @property
    def white_box(self) -> tuple[str, ...]:
        """The files of the white box; empty if there is none."""
        return tuple(name for name in (self.lookup, self.encode, self.gradient) if name)

    @property
    def weighty(self) -> tuple[str, ...]:
        """The files that decide this precision's vectors."""
        return (self.graph, self.weights) if self.weights else (self.graph,)

    @property
    def names(self) -> tuple[str, ...]:
        """All files of this precision."""
        return (*self.weighty, *self.white_box)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(self.white_box) not in (0, 3):
            raise ValueError("lookup, encode and gradient must be named together or not at all")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A manifest of before these fields stays what it was, byte by byte.
        return {name: value for name, value in dump(self).items() if value is not None}


class Prompts(Frozen):
    """What is put before a text, by what the text is."""

    query: str = ""
    document: str = ""


class Source(Frozen):
    """A corpus that the weights were made from."""

    name: str
    licence: str


class Manifest(Frozen):
    """The artifact's contract; ``model_id`` changes whenever tokenizer or weights do."""

    format_version: Literal[1] = FORMAT_VERSION
    model_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[0-9a-f]{12}$")]
    name: str
    dim: Annotated[int, Field(ge=1, le=16384)]
    vocab_size: Annotated[int, Field(ge=1)]
    max_tokens: Annotated[int, Field(ge=4, le=32768)]
    pad_id: Annotated[int, Field(ge=0)]
    pooling: Literal["mean", "cls", "last"]
    normalized: Literal[True] = True
    matryoshka: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    """Dimensions that a vector was trained to be cut to, ascending, each below ``dim``."""
    prompts: Prompts = Prompts()
    precisions: Annotated[dict[Precision, Graph], Field(min_length=1)]
    default_precision: Precision
    files: list[File]
    languages: list[str] = Field(default_factory=list)
    licence: str
    sources: list[Source] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    verification: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    created: str
    digest: Sha256 | Literal[""] = ""

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        listed = [file.path for file in self.files]
        if len(set(listed)) != len(listed) or MANIFEST in listed:
            raise ValueError(f"files must list each file once, and not {MANIFEST}")
        named = [
            TOKENIZER,
            GOLDEN,
            *(name for one in self.precisions.values() for name in one.names),
        ]
        if missing := sorted(set(named) - set(listed)):
            raise ValueError(f"files must list {', '.join(missing)}")
        if len(set(named)) != len(named):
            raise ValueError("a file must have one role, in one precision")
        cuts = [*self.matryoshka, self.dim]
        if cuts != sorted(set(cuts)):
            raise ValueError(f"matryoshka must ascend and stay below dim, {self.dim}")
        if self.default_precision not in self.precisions:
            raise ValueError("default_precision must be one of precisions")
        if self.pad_id >= self.vocab_size:
            raise ValueError("pad_id must be below vocab_size")
        expected = model_id(self.name, self.files, self.precisions)
        if self.model_id != expected:
            raise ValueError(f"model_id must be {expected}, as the files' hashes say")
        return self

    def to_bytes(self) -> bytes:
        """Serialize with the digest filled in; the same manifest gives the same bytes."""
        content = self.model_dump(mode="json", exclude={"digest"})
        if not self.matryoshka:
            del content["matryoshka"]  # as manifests of before this field
        digest = hashlib.sha256(_canonical(content)).hexdigest()
        return _canonical({**content, "digest": digest})

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json`` as the folder's last file: a reader sees all of it or none.

        Returns:
            The path of the manifest.

        Raises:
            ArtifactError: If a file listed is not in the folder as listed.
        """
        for file in self.files:
            read_file(folder, file, keep=False)
        target, draft = folder / MANIFEST, folder / f".{MANIFEST}.draft"
        with draft.open("xb") as out:
            out.write(self.to_bytes())
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return target


def model_id(name: str, files: Iterable[File], precisions: Mapping[Precision, Graph]) -> str:
    """Name an encoder after what decides its vectors: tokenizer, graphs and their weights.

    The white box is not part of it: it explains vectors and decides none.
    """
    weighty = {TOKENIZER, *(name for graph in precisions.values() for name in graph.weighty)}
    lines = sorted(f"{file.path} {file.sha256}\n" for file in files if file.path in weighty)
    return f"{name}@{hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]}"


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest and check every file against it.

    Raises:
        ArtifactError: If the folder is not exactly what the manifest says; the message names the
            file, what was found, what was expected and what to do.
    """
    return read_artifact(folder, lambda manifest: ())[0]


def read_artifact(
    folder: Path, keep: Callable[[Manifest], Iterable[str]]
) -> tuple[Manifest, dict[str, bytes]]:
    """Check every file of an artifact and keep the bytes of those that are wanted.

    Args:
        folder: The artifact.
        keep: Names the files to keep, once the manifest is known.

    Returns:
        The manifest, and the checked content of each file kept.

    Raises:
        ArtifactError: As ``load_manifest``.
    """
    manifest = _read_manifest(folder)
    wanted = set(keep(manifest))
    contents: dict[str, bytes] = {}
    for file in manifest.files:
        content = read_file(folder, file, keep=file.path in wanted)
        if file.path in wanted:
            contents[file.path] = content
    found = {entry.name for entry in os.scandir(folder)}
    if extra := sorted(found - {MANIFEST, *(file.path for file in manifest.files)}):
        raise ArtifactError(
            f"{folder / extra[0]}: got a file (one of {len(extra)}) that {MANIFEST} does not list; "
            f"expected the listed files alone. Remove it if it is yours. {REMEDY}"
        )
    return manifest, contents


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder}: got no such directory; expected an artifact. Set TYNTEGRA_ARTIFACT to the "
            "folder that `python -m export` wrote, or unset it for the embedded one."
        )
    descriptor = open_plain(path, MANIFEST)
    with open(descriptor, "rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"{path}: got more than {MAX_MANIFEST_BYTES} bytes; expected a small JSON file. "
            f"{REMEDY}"
        )
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArtifactError(
            f"{path}: got something else than a manifest of format {FORMAT_VERSION} "
            f"({where}: {first['msg']}). {REMEDY}"
        ) from error
    if raw != manifest.to_bytes():
        raise ArtifactError(
            f"{path}: got content that its digest does not fit, so it was changed after it was "
            f"written; expected it untouched. {REMEDY}"
        )
    return manifest


def _canonical(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()
