"""What a collection is on disk, and how that is written, sealed and verified.

    root/<name>/collection.json    name, dim, model, options, and which shard directory counts
    root/<name>/shard-<hex>/       the engine's files
    root/<name>/account-<hex>.bin  how many documents there must be, and a sum over all (account.py)
    root/<name>/tally-<hex>.npy    in how many passages each token stands (tally.py)
    root/<name>/seal.json          digests of all these, there only after a clean close

Everything that becomes visible does so by one rename of something already synced. The engine keeps
no check sums, so the seal is what tells a damaged file from a sound one.
"""

import hashlib
import json
import re
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.retrieval.edge.account import Account, read_accounts
from app.retrieval.edge.disk import copy_file, file_digest, sync_directory, write_json
from app.retrieval.store import Collection, Options

FORMAT = 2
FORMATS = (1, FORMAT)
META = "collection.json"
SEAL = "seal.json"
_SHARD = re.compile(r"shard-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class CollectionMeta:
    """The content of ``collection.json``.

    Attributes:
        name: Its directory's name.
        dim: Length of its vectors.
        model: Id of the encoder that made them.
        created: ISO 8601.
        shard: Directory of the engine's files that count.
        format: Of format 1 there are no options, no books and no words.
        options: ``Options`` as they were at creation.
        indexed: Passages that the graph covered when it was built.
        unchecked: There was a crash, and not every document has been read since to see that it is
            as it was written.
        took: "<collection>/<shard>" whose place and files this one took; if that collection is
            still there, it is a leftover that shares its files.
    """

    name: str
    dim: int
    model: str
    created: str
    shard: str
    format: int = FORMAT
    options: dict[str, Any] = field(default_factory=dict)
    indexed: int = 0
    unchecked: bool = False
    took: str = ""

    def describe(self, count: int) -> Collection:
        """Describe the collection, given its number of documents."""
        return Collection(self.name, self.dim, self.model, count, Options(**self.options))


def new_shard_name() -> str:
    """Invent the name of a shard directory."""
    return f"shard-{uuid.uuid4().hex[:12]}"


def account_path(directory: Path, shard: str) -> Path:
    """Name the file that keeps a shard's account."""
    return directory / f"account-{shard.removeprefix('shard-')}.bin"


def tally_path(directory: Path, shard: str) -> Path:
    """Name the file that keeps a shard's tally."""
    return directory / f"tally-{shard.removeprefix('shard-')}.npy"


def write_meta(directory: Path, meta: CollectionMeta) -> None:
    """Write a collection's metadata atomically and durably."""
    content = asdict(meta)
    write_json(directory / META, content | {"check": _digest(content)})


def read_meta(directory: Path, *, named: bool = True) -> CollectionMeta:
    """Read a collection's metadata.

    Args:
        directory: The collection's.
        named: The directory must have the collection's name.

    Raises:
        ValueError: If it is missing, damaged, or of another format.
    """
    try:
        content = json.loads((directory / META).read_text(encoding="utf-8"))
        check = content.pop("check")
        meta = CollectionMeta(**content)
        Options(**meta.options)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{META} cannot be read ({error})") from error
    if check != _digest(content):
        raise ValueError(f"{META} does not fit its check sum")
    if meta.format not in FORMATS or (named and meta.name != directory.name):
        raise ValueError(f"{META} is of format {meta.format} for collection {meta.name!r:.80}")
    if _SHARD.fullmatch(meta.shard) is None:
        raise ValueError(f"{META} names the shard {meta.shard!r:.80}")
    return meta


def seal(directory: Path, shard: str) -> None:
    """Record the digests of a shard's files; call it when the engine has let go of them."""
    write_json(directory / SEAL, {"shard": shard, "files": _digests(directory, shard)})


def is_sealed(directory: Path) -> bool:
    """Tell whether the collection was closed cleanly and not opened since."""
    return (directory / SEAL).exists()


def verify_seal(directory: Path, shard: str) -> None:
    """Compare a shard's files with the seal.

    Raises:
        ValueError: If a file is missing, added or changed; the message names it.
    """
    try:
        content = json.loads((directory / SEAL).read_text(encoding="utf-8"))
        sealed, files = content["shard"], dict(content["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{SEAL} cannot be read ({error})") from error
    if sealed != shard:
        raise ValueError(f"{SEAL} is of {sealed!r:.80}, but {META} names {shard}")
    found = _digests(directory, shard)
    changed = sorted(k for k in files.keys() | found.keys() if files.get(k) != found.get(k))
    if changed:
        raise ValueError(f"{changed[0]} was changed, lost or added since the last clean close")


def unseal(directory: Path) -> None:
    """Remove the seal, durably, before the engine may change a file."""
    (directory / SEAL).unlink(missing_ok=True)
    sync_directory(directory)


def remove_other_shards(directory: Path, shard: str) -> None:
    """Remove what an interrupted build, or a shard that was superseded, left behind."""
    keep = {shard, account_path(directory, shard).name, tally_path(directory, shard).name}
    for pattern in ("shard-*", "account-*", "tally-*"):
        for path in directory.glob(pattern):
            if path.name in keep:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def copy_books(source: Path, target: Path, shard: str, renamed: str = "") -> None:
    """Copy the account and the tally of a shard, those that are there, maybe for another name."""
    for path_of in (account_path, tally_path):
        path = path_of(source, shard)
        if path.exists():
            copy_file(path, path_of(target, renamed or shard))


def read_account(directory: Path, shard: str) -> Account:
    """Read the account of a shard that was closed cleanly.

    Raises:
        ValueError: If it is missing, damaged, or of a write under way.
    """
    try:
        accounts = set(read_accounts(account_path(directory, shard)))
    except OSError as error:
        raise ValueError(f"the account of {shard} cannot be read ({error})") from error
    if len(accounts) != 1:
        raise ValueError(f"the account of {shard} is of a write that was under way")
    return accounts.pop()


def _digests(directory: Path, shard: str) -> dict[str, str]:
    digests = {
        str(path.relative_to(directory / shard)): file_digest(path)
        for path in sorted((directory / shard).rglob("*"))
        if not path.is_dir()
    }
    for path in (account_path(directory, shard), tally_path(directory, shard)):
        if path.exists():
            digests[f"../{path.name}"] = file_digest(path)
    return digests


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
