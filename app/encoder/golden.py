"""Golden vectors: fixed texts with the vectors that the exporting machine gave them.

Hashes say that the files are those that were exported; these say that this machine, with its
libraries, still makes the same vectors of them. Vectors are kept as half floats: their rounding
(a cosine of 1 - 1e-7) is far below what is looked for.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifact import GOLDEN, Precision
from app.errors import ArtifactError

LEAST_COSINE = 0.999

_HALF = np.dtype("<f2")


def pack_golden(texts: Sequence[str], vectors: Mapping[Precision, NDArray[np.float32]]) -> bytes:
    """Serialize golden texts with their vectors.

    Args:
        texts: The texts, encoded as documents.
        vectors: For each precision unit rows, shape (texts, dim).
    """
    content = {
        "texts": list(texts),
        "vectors": {
            precision: base64.b64encode(rows.astype(_HALF).tobytes()).decode()
            for precision, rows in vectors.items()
        },
    }
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def unpack_golden(
    content: bytes, precision: Precision, dim: int
) -> tuple[list[str], NDArray[np.float32]]:
    """Read the golden texts and their vectors, shape (texts, dim), for one precision.

    Raises:
        ArtifactError: If the file is not of that form.
    """
    try:
        parsed: dict[str, Any] = json.loads(content)
        texts = [str(text) for text in parsed["texts"]]
        raw = base64.b64decode(parsed["vectors"][precision], validate=True)
        vectors = np.frombuffer(raw, dtype=_HALF).reshape(len(texts), dim).astype(np.float32)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ArtifactError(
            f"{GOLDEN}: got something else than texts with {dim} numbers each for {precision} "
            f"({error}). Export the artifact again."
        ) from error
    if not texts:
        raise ArtifactError(f"{GOLDEN}: got no texts; expected some. Export the artifact again.")
    return texts, vectors


def require_golden(
    texts: Sequence[str], got: NDArray[np.float32], expected: NDArray[np.float32]
) -> float:
    """Compare vectors made here with the golden ones.

    Returns:
        The least cosine over the texts.

    Raises:
        ArtifactError: If a vector is not finite, or farther from its golden one than
            ``LEAST_COSINE`` allows.
    """
    with np.errstate(all="ignore"):  # what divides by zero or infinity is not a number: refused
        cosines = np.sum(got * expected, axis=1, dtype=np.float64)
        cosines /= np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
    worst = int(np.argmin(np.nan_to_num(cosines, nan=-1.0)))
    if not cosines[worst] >= LEAST_COSINE:
        raise ArtifactError(
            f"{GOLDEN}: got a vector with cosine {cosines[worst]:.6f} to the golden one of text "
            f"{worst} ({texts[worst]!r:.60}); expected at least {LEAST_COSINE}. This machine does "
            "not compute what the exporting one did: use the versions that the manifest lists."
        )
    return float(cosines[worst])
