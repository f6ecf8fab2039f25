"""Perturbed queries in a folder: made once, read by every run, each file checked by its SHA-256.

A file holds one task's queries of one language under one family: a header, a line for each text,
and the SHA-256 of all that in the last line. Its name has a digest of what was asked for, so that
another seed, budget or sample is another file.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from app.errors import InvalidInputError
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.perturbed import FORMAT, Perturbed, Recipe, perturb_texts

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What a file is asked to hold.

    Attributes:
        task: Whose queries they are.
        lang: Their language.
        texts: The queries in any order, repeated or not.
        recipe: How they are perturbed.
    """

    task: str
    lang: str
    texts: Sequence[str]
    recipe: Recipe

    @property
    def file(self) -> Path:
        """Where the file is, relative to the folder."""
        return file_of(self.task, self.lang, self.texts, self.recipe)


def make_files(requests: Sequence[Request], folder: Path, workers: int = 1) -> Iterator[Request]:
    """Make the files that are missing, those of most texts first; yields each that was made.

    Args:
        requests: The files.
        folder: Where they go.
        workers: Processes; what is made does not depend on their number.

    Raises:
        BenchmarkError: If a file cannot be written.
    """
    missing = [one for one in requests if not (folder / one.file).exists()]
    if workers <= 1 or len(missing) <= 1:
        for one in missing:
            yield _make(one, folder)
        return
    missing.sort(key=lambda one: (one.recipe.family != "typo", -len(one.texts)))
    # Spawned and not forked: the parent may run threads of ONNX Runtime or torch.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(_make, missing, [folder] * len(missing))


def _make(request: Request, folder: Path) -> Request:
    perturbed_for(request.task, request.lang, request.texts, request.recipe, folder)
    return request


def perturbed_for(
    task: str, lang: str, texts: Iterable[str], recipe: Recipe, folder: Path | None
) -> Perturbed:
    """Read perturbed texts from a folder, or make them and write them there.

    Args:
        task: Whose queries they are.
        lang: Their language.
        texts: Texts in any order, repeated or not.
        recipe: How to perturb them.
        folder: Where the files are; None: nowhere, they are made anew.

    Raises:
        BenchmarkError: If the file is damaged, or cannot be written.
    """
    distinct = sorted(set(texts))
    if folder is None:
        return perturb_texts(task, lang, distinct, recipe)
    path = folder / file_of(task, lang, distinct, recipe)
    if path.exists():
        return read_perturbed(path)
    found = perturb_texts(task, lang, distinct, recipe)
    write_perturbed(path, found)
    return found


def file_of(task: str, lang: str, texts: Iterable[str], recipe: Recipe) -> Path:
    """Name the file of a request, relative to the folder."""
    asked = [FORMAT, task, lang, recipe.family, recipe.edits, recipe.draws, recipe.seed]
    digest = hashlib.sha256(json.dumps(asked).encode())
    for text in sorted(set(texts)):
        digest.update(b"\n" + json.dumps(text).encode())
    return Path(task) / lang / f"{recipe.family}-{digest.hexdigest()[:_DIGITS]}.jsonl.gz"


def write_perturbed(path: Path, perturbed: Perturbed) -> None:
    """Write a file whole or not at all; the same texts give the same lines on any machine.

    Raises:
        BenchmarkError: If it cannot be written.
    """
    lines = "".join([*perturbed.lines(), json.dumps({"sha256": perturbed.sha256}) + "\n"])
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(gzip.compress(lines.encode("utf-8", "surrogatepass"), 6, mtime=0))
        part.replace(path)
    except OSError as error:
        raise BenchmarkError(
            f"{path}: cannot write perturbed queries ({error.strerror}); expected a folder with "
            "room that may be written to: give another one."
        ) from error


def read_perturbed(path: Path) -> Perturbed:
    """Read a file that ``write_perturbed`` wrote.

    Raises:
        BenchmarkError: If it is damaged, or of another format.
    """
    try:
        content = gzip.decompress(path.read_bytes()).decode("utf-8", "surrogatepass")
        *lines, last = content.removesuffix("\n").split("\n")  # other line ends stand in texts
        header, *rows = (json.loads(line) for line in lines)
        stated = json.loads(last)["sha256"]
        if header["format"] != FORMAT:
            raise BenchmarkError(
                f"{path}: got perturbed queries of format {header['format']}; expected {FORMAT}: "
                "remove the file, and it is made anew."
            )
        found = _perturbed(header, rows)
    except BenchmarkError:
        raise
    except (OSError, EOFError, ValueError, LookupError, TypeError, InvalidInputError) as error:
        raise _damaged(path, f"it cannot be read ({error})") from error
    if found.sha256 != stated:
        raise _damaged(path, f"its texts have the SHA-256 {found.sha256} and it says {stated}")
    return found


def _perturbed(header: dict[str, object], rows: list[list[str | None]]) -> Perturbed:
    recipe = Recipe(
        str(header["family"]),
        tuple(header["edits"]),  # pyright: ignore[reportArgumentType] # checked by the SHA-256
        int(header["draws"]),  # pyright: ignore[reportArgumentType]
        int(header["seed"]),  # pyright: ignore[reportArgumentType]
    )
    columns = list(zip(*rows, strict=True)) or [() for _ in range(1 + len(recipe.conditions))]
    texts = tuple(str(text) for text in columns[0])
    variants = dict(zip(recipe.conditions, columns[1:], strict=True))
    return Perturbed(str(header["task"]), str(header["lang"]), recipe, texts, variants)


def _damaged(path: Path, why: str) -> BenchmarkError:
    return BenchmarkError(
        f"{path} is damaged: {why}; expected a file as it was written: remove it, and it is made "
        "anew."
    )
