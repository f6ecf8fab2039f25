"""Is an artifact what it says, and does it work on this machine? Asked without torch.

Export compared it with its checkpoint; what that found is in the manifest. Here the files are
checked, every precision is run on this machine's ONNX Runtime, and what must hold of any encoder is
held against it: the golden vectors, finite unit vectors at every length and in every script, the
same vector alone and in a batch, graphs that agree with each other, a gradient that is one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from app.artifact import GOLDEN, TOKENIZER, Graph, Manifest, Precision, load_manifest, read_artifact
from app.encoder.golden import LEAST_COSINE, require_golden, unpack_golden
from app.encoder.gradient import WhiteBox
from app.encoder.outline import read_outline
from app.encoder.session import Session
from app.encoder.tokenizer import Tokenizer
from app.errors import ArtifactError, InvalidInputError, ServiceError
from app.inspection import table
from app.text.script import SCRIPTS

BATCH = 32
MOST_TOKENS = 8192
EVERY_LENGTH_TO = 64
NORM_TOLERANCE = 1e-3
GAPS: dict[Precision, float] = {"fp32": 1e-6, "fp16": 1e-4, "int8": 1e-6, "int4": 1e-6}
"""Most that a cosine of what must be one vector may miss 1 by."""
SLOPE_TOLERANCE = 0.02
"""Most that a gradient's slope may differ from the measured one, relative to its length."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Check:
    """A check that held: of what, its figure, and what was allowed."""

    subject: str
    name: str
    got: str
    allowed: str


def verify_artifact(
    folder: Path, precision: str | None = None, texts: Sequence[str] = ()
) -> list[Check]:
    """Check an artifact and run it.

    Args:
        folder: The artifact.
        precision: The only one to run; None: all.
        texts: More texts to run it on.

    Returns:
        What was checked.

    Raises:
        ArtifactError: If a check fails; names the file and the reason.
        InvalidInputError: If the artifact lacks the precision, or a text cannot be encoded.
    """
    manifest = load_manifest(folder)
    if precision is not None and precision not in manifest.precisions:
        raise InvalidInputError(
            f"got --precision {precision}, which {folder} lacks; expected one of "
            f"{', '.join(manifest.precisions)}. Name one of those, or none to verify all."
        )
    size = sum(file.bytes for file in manifest.files)
    hashes = f"{len(manifest.files)} files, {size} bytes"
    checks = [Check("files", "sizes, hashes, digest", hashes, "as the manifest says")]
    for one, graph in manifest.precisions.items():
        if precision in (None, one):
            checks += _verify_precision(folder, one, graph, texts)
    return checks


def _verify_precision(
    folder: Path, precision: Precision, graph: Graph, texts: Sequence[str]
) -> Iterator[Check]:
    manifest, contents = read_artifact(folder, lambda _: (TOKENIZER, GOLDEN, *graph.names))
    with _naming(folder / TOKENIZER):
        tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    for name in (graph.graph, *graph.white_box):
        with _naming(folder / name):
            _require_place(contents[name], graph)
    with _naming(folder / graph.graph):
        weights = contents[graph.weights] if graph.weights else None
        session = Session(contents[graph.graph], manifest, weights=weights, device="cpu", threads=0)
        yield Check(precision, "opens", session.provider, "any")
        golden, expected = unpack_golden(contents[GOLDEN], precision, manifest.dim)
        rows = [row.ids for row in tokenizer.tokenize(golden, "document")]
        got = np.concatenate([session.run(part) for part in _parts(rows)])
        least = require_golden(golden, got, expected)
        yield Check(precision, "golden vectors", f"cosine {least:.6f}", f"{LEAST_COSINE} or more")
        yield _check_lengths(session, rows, manifest, precision)
    scripts = script_samples()
    for some in (list(scripts.values()), texts):
        rows += [row.ids for row in tokenizer.tokenize(some, "document")]
    with _naming(folder / graph.graph):
        of = f"{len(scripts)} scripts, {len(texts)} texts given"
        yield _check_alone(session, rows, of, precision)
    if graph.white_box:
        yield from _check_white_box(folder, graph, session, rows[: len(golden)], precision)


def _check_lengths(
    session: Session, rows: Sequence[list[int]], manifest: Manifest, precision: Precision
) -> Check:
    """Run texts of every length to ``EVERY_LENGTH_TO``, then of growing ones to the longest."""
    longest = manifest.max_tokens
    lengths = list(range(1, min(EVERY_LENGTH_TO, longest) + 1))
    while lengths[-1] < longest:
        lengths.append(min(longest, lengths[-1] * 5 // 4))
    stream = [token for row in rows for token in row]
    stream *= -(-longest // len(stream))
    worst = 0.0
    for length in lengths:  # one by one: in a batch, all of them would be as long as the longest
        error = abs(float(np.linalg.norm(session.run([stream[:length]]))) - 1)
        if not error <= NORM_TOLERANCE:  # not a number is none either
            raise ArtifactError(
                f"got a vector that misses length 1 by {error:.1e} for a text of {length} tokens; "
                f"expected at most {NORM_TOLERANCE:.0e}. Export the artifact again."
            )
        worst = max(worst, error)
    name = f"unit vectors, {len(lengths)} lengths of 1 to {longest} tokens"
    return Check(precision, name, f"{worst:.1e}", f"{NORM_TOLERANCE:.0e}")


def _check_alone(
    session: Session, rows: Sequence[list[int]], of: str, precision: Precision
) -> Check:
    alone = np.concatenate([session.run([row]) for row in rows])
    together = np.concatenate([session.run(part) for part in _parts(rows)])
    gap = _require_gap("vectors that depend on what they are run with", alone, together, precision)
    return Check(precision, f"alone as in a batch, {of}", f"{gap:.1e}", f"{GAPS[precision]:.0e}")


def _check_white_box(
    folder: Path, graph: Graph, session: Session, rows: Sequence[list[int]], precision: Precision
) -> Iterator[Check]:
    with _naming(folder / str(graph.lookup)):
        box = WhiteBox.open(folder, precision=precision, device="cpu")
        chosen = sorted(rows, key=len)[:: max(1, len(rows) // 8)]
        embeddings, mask = box.lookup(chosen)  # (batch, seq, hidden), (batch, seq)
    with _naming(folder / str(graph.encode)):
        vectors = box.encode(embeddings, mask)
        what = "other vectors by lookup and encode than by the graph that is served"
        gap = _require_gap(what, session.run(chosen), vectors, precision)
        name = "white box gives the vectors served"
        yield Check(precision, name, f"{gap:.1e}", f"{GAPS[precision]:.0e}")
    with _naming(folder / str(graph.gradient)):
        cotangent = np.roll(vectors, 1, axis=0) - vectors
        again, gradients = box.gradient(embeddings, mask, cotangent)
        _require_gap("other vectors by the gradient's graph", again, vectors, precision)
        if np.any(gradients[mask == 0]):
            raise ArtifactError(
                "got a gradient at padding; expected exactly 0. Export the artifact again."
            )
        error = _slope_error(box, embeddings, mask, cotangent, gradients)
        if not error <= SLOPE_TOLERANCE:
            raise ArtifactError(
                f"got a gradient whose slope differs from the measured one by {error:.1%} of its "
                f"length; expected at most {SLOPE_TOLERANCE:.0%}. Export the artifact again."
            )
        yield Check(precision, "gradient as measured", f"{error:.1e}", f"{SLOPE_TOLERANCE:.0e}")


def _slope_error(
    box: WhiteBox, embeddings: Vectors, mask: NDArray[np.int64], cotangent: Vectors, got: Vectors
) -> float:
    """Measure the slope along the gradient, and along its signs, by central differences."""

    def loss(at: NDArray[np.float64]) -> NDArray[np.float64]:
        vectors = box.encode(at.astype(np.float32), mask).astype(np.float64)
        return (vectors * cotangent).sum(axis=1)  # (batch,)

    gradients, start = got.astype(np.float64), embeddings.astype(np.float64)
    lengths = np.sqrt(np.square(gradients).sum(axis=(1, 2)))  # (batch,)
    if not lengths.max() > 0:
        return float("nan")
    # Of a text whose gradient is next to nothing the differences are all rounding.
    floor = np.maximum(lengths, lengths.max() / 100)
    kept = np.sqrt(np.square(start * mask[..., None]).sum(axis=(1, 2)))
    worst = 0.0
    for along in (gradients, np.sign(gradients)):
        size = np.sqrt(np.square(along).sum(axis=(1, 2)))
        direction = along / np.maximum(size, np.finfo(np.float64).tiny)[:, None, None]
        step = 1e-3 * kept  # (batch,)
        moved = direction * step[:, None, None]
        measured = (loss(start + moved) - loss(start - moved)) / (2 * step)
        stated = (gradients * direction).sum(axis=(1, 2))
        worst = np.maximum(worst, (np.abs(measured - stated) / floor).max())  # keeps not-a-number
    return float(worst)


def read_texts(path: Path) -> list[str]:
    """Read texts from a UTF-8 file, one a line; empty lines are left out.

    Raises:
        InvalidInputError: If there is no such file, or no text in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path}: got {error}; expected a UTF-8 file with one text a line. Name such a file."
        ) from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise InvalidInputError(f"{path}: got no text; expected one a line. Name another file.")
    return texts


def write_checks(checks: Sequence[Check]) -> str:
    """Write what was checked as a table."""
    rows = [(check.subject, check.name, check.got, check.allowed) for check in checks]
    return "\n".join(table(("of", "check", "got", "allowed"), rows))


def script_samples(words: int = 4, letters: int = 5) -> dict[str, str]:
    """Make a text of letters for every script of Unicode, by its ISO 15924 code."""
    planes = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)]))
    found: dict[str, str] = {}
    for script in SCRIPTS:
        of_script = regex.compile(rf"[\p{{Script={script}}}&&\p{{L}}]", regex.V1)
        some = [one.group() for one in islice(of_script.finditer(planes), words * letters)]
        if some:
            split = (some[start : start + letters] for start in range(0, len(some), letters))
            found[script] = " ".join(map("".join, split))
    return found


def _require_place(content: bytes, graph: Graph) -> None:
    expected = graph.weights or graph.graph
    for name, path in read_outline(content).outside.items():
        if path != expected:
            raise ArtifactError(
                f"got a graph whose {name!r:.60} is in {path!r:.80}; expected it in {expected}, as "
                "the manifest says. Export the artifact again."
            )


def _require_gap(what: str, left: Vectors, right: Vectors, precision: Precision) -> float:
    with np.errstate(all="ignore"):  # what is not finite gives no number, and is refused
        exact = [rows.astype(np.float64) for rows in (left, right)]
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in exact)
        gap = float((0.5 * np.square(a - b).sum(axis=1)).max())
    if not gap <= GAPS[precision]:
        raise ArtifactError(
            f"got {what} (their cosine misses 1 by {gap:.1e}); expected at most "
            f"{GAPS[precision]:.0e}. Export the artifact again, or with another precision."
        )
    return gap


def _parts(rows: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """Cut rows into batches that padding does not blow up."""
    part: list[list[int]] = []
    for row in rows:
        longest = max(map(len, [*part, row]))
        if part and (len(part) == BATCH or longest * (len(part) + 1) > MOST_TOKENS):
            yield part
            part = []
        part.append(row)
    if part:
        yield part


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before whatever goes wrong with it."""
    try:
        yield
    except ServiceError as error:
        named = error.message.startswith(str(path.parent))
        raise ArtifactError(error.message if named else f"{path}: {error.message}") from error
    except Exception as error:  # the library's exceptions have no base of their own
        raise ArtifactError(
            f"{path}: got a failure while it was run ({error}); expected vectors. Export the "
            "artifact again, for the versions that are installed here."
        ) from error
