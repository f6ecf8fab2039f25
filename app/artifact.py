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
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
GOLDEN = "golden.json"
MODEL_CARD = "MODEL_CARD.md"
MAX_MANIFEST_BYTES = 16 * 2**20

Precision = Literal["fp32", "fp16", "int8"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_REMEDY = "Export it again, or fetch the artifact anew."
_CHUNK = 2**20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class File(_Frozen):
    """One file of the artifact, beside its manifest."""

    path: FileName
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Graph(_Frozen):
    """The ONNX graph of one precision."""

    graph: FileName


class Prompts(_Frozen):
    """What is put before a text, by what the text is."""

    query: str = ""
    document: str = ""


class Source(_Frozen):
    """A corpus that the weights were made from."""

    name: str
    licence: str


class Manifest(_Frozen):
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
    prompts: Prompts = Prompts()
    precisions: Annotated[dict[Precision, Graph], Field(min_length=1)]
    default_precision: Precision
    files: list[File]
    languages: list[str] = []
    licence: str
    sources: list[Source] = []
    metrics: dict[str, Any] = {}
    verification: dict[str, Any] = {}
    versions: dict[str, str] = {}
    created: str
    digest: Sha256 | Literal[""] = ""

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        listed = [file.path for file in self.files]
        if len(set(listed)) != len(listed) or MANIFEST in listed:
            raise ValueError(f"files must list each file once, and not {MANIFEST}")
        needed = {TOKENIZER, GOLDEN, *(graph.graph for graph in self.precisions.values())}
        if missing := sorted(needed - set(listed)):
            raise ValueError(f"files must list {', '.join(missing)}")
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
            _read(folder, file, keep=False)
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
    """Name an encoder after what decides its vectors: the tokenizer and the graphs."""
    weighty = {TOKENIZER, *(graph.graph for graph in precisions.values())}
    lines = sorted(f"{file.path} {file.sha256}\n" for file in files if file.path in weighty)
    return f"{name}@{hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]}"


def describe_file(path: Path) -> File:
    """Measure and hash a file for the manifest."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(path=path.name, bytes=path.stat().st_size, sha256=digest)


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
        content = _read(folder, file, keep=file.path in wanted)
        if file.path in wanted:
            contents[file.path] = content
    found = {entry.name for entry in os.scandir(folder)}
    if extra := sorted(found - {MANIFEST, *(file.path for file in manifest.files)}):
        raise ArtifactError(
            f"{folder / extra[0]}: got a file (one of {len(extra)}) that {MANIFEST} does not list; "
            f"expected the listed files alone. Remove it if it is yours. {_REMEDY}"
        )
    return manifest, contents


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder}: got no such directory; expected an artifact. Set TYNTEGRA_ARTIFACT to the "
            "folder that `python -m export` wrote, or unset it for the embedded one."
        )
    descriptor = _open(path, MANIFEST)
    with open(descriptor, "rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"{path}: got more than {MAX_MANIFEST_BYTES} bytes; expected a small JSON file. "
            f"{_REMEDY}"
        )
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArtifactError(
            f"{path}: got something else than a manifest of format {FORMAT_VERSION} "
            f"({where}: {first['msg']}). {_REMEDY}"
        ) from error
    if raw != manifest.to_bytes():
        raise ArtifactError(
            f"{path}: got content that its digest does not fit, so it was changed after it was "
            f"written; expected it untouched. {_REMEDY}"
        )
    return manifest


def _open(path: Path, name: str) -> int:
    """Open a regular file that has one name only, and follow no link on the way to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: got no such file; expected {name} as part of the artifact. {_REMEDY}"
        ) from error
    except OSError as error:
        reason = "a symbolic link" if path.is_symlink() else error.strerror
        raise ArtifactError(
            f"{path}: got {reason}; expected a plain readable file. {_REMEDY}"
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        kind = "a hard link" if stat.S_ISREG(status.st_mode) else "no plain file"
        raise ArtifactError(
            f"{path}: got {kind} ({status.st_nlink} names); expected a plain file with one name. "
            "Copy the artifact with `cp -r` instead of linking it (uv: `--link-mode copy`)."
        )
    return descriptor


def _read(folder: Path, file: File, *, keep: bool) -> bytes:
    path = folder / file.path
    with open(_open(path, file.path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != file.bytes:
            raise ArtifactError(
                f"{path}: got {size} bytes; expected {file.bytes} as {MANIFEST} says. {_REMEDY}"
            )
        digest, parts = hashlib.sha256(), []
        while part := stream.read(_CHUNK):
            digest.update(part)
            if keep:
                parts.append(part)
    if digest.hexdigest() != file.sha256:
        raise ArtifactError(
            f"{path}: got SHA-256 {digest.hexdigest()}; expected {file.sha256} as {MANIFEST} says. "
            f"{_REMEDY}"
        )
    return b"".join(parts)


def _canonical(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()
