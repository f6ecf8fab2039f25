"""Files that are what they are said to be: opened once, plain, and of the size and hash listed."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.errors import ArtifactError

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

REMEDY = "Export it again, or fetch the artifact anew."
_CHUNK = 2**20


class Frozen(BaseModel):
    """A part of the manifest: nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class File(Frozen):
    """One file of the artifact, beside its manifest."""

    path: FileName
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


def describe_file(path: Path) -> File:
    """Measure and hash a file for the manifest."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(path=path.name, bytes=path.stat().st_size, sha256=digest)


def open_plain(path: Path, name: str) -> int:
    """Open a regular file that has one name only, and follow no link on the way to it.

    Raises:
        ArtifactError: If it is absent, unreadable or something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: got no such file; expected {name} as part of the artifact. {REMEDY}"
        ) from error
    except OSError as error:
        reason = "a symbolic link" if path.is_symlink() else error.strerror
        raise ArtifactError(
            f"{path}: got {reason}; expected a plain readable file. {REMEDY}"
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


def read_file(folder: Path, file: File, *, keep: bool) -> bytes:
    """Read and hash a file.

    Returns:
        The very bytes that were hashed; nothing if they are not to be kept.

    Raises:
        ArtifactError: If it is not as listed.
    """
    path = folder / file.path
    with open(open_plain(path, file.path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != file.bytes:
            raise ArtifactError(
                f"{path}: got {size} bytes; expected {file.bytes} as the manifest says. {REMEDY}"
            )
        digest = hashlib.sha256()
        # What is kept is read in one go: joined from parts, it would need twice its memory.
        content = stream.read(size) if keep else b""
        digest.update(content)
        while part := stream.read(_CHUNK):
            digest.update(part)
    if digest.hexdigest() != file.sha256:
        raise ArtifactError(
            f"{path}: got SHA-256 {digest.hexdigest()}; expected {file.sha256} as the manifest "
            f"says. {REMEDY}"
        )
    return content
