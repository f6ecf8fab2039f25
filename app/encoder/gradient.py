"""The white box: token embeddings, vectors from them, and the gradient between the two.

A probe that may look inside asks in which direction a token's embedding should move to bring a
vector nearer to another. The artifact's graphs answer; torch is not needed. The gradient is a
vector-Jacobian product, so that the loss stays with the caller: hand in dL/dvector, get
dL/dembedding.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.artifact import Graph, Manifest, Precision, read_artifact
from app.encoder.session import (
    INPUTS,
    OUTPUT,
    PREFERRED,
    Device,
    likely_provider,
    open_graph,
    pad_rows,
)
from app.errors import ArtifactError, InvalidInputError

EMBEDDINGS = "token_embeddings"
COTANGENT = "cotangent"
GRADIENTS = "token_gradients"

_IDS, _MASK = INPUTS
_CONTRACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lookup": ((_IDS,), (EMBEDDINGS,)),
    "encode": ((EMBEDDINGS, _MASK), (OUTPUT,)),
    "gradient": ((EMBEDDINGS, _MASK, COTANGENT), (OUTPUT, GRADIENTS)),
}
"""Inputs and outputs of each graph."""

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]


class WhiteBox:
    """The three graphs of one precision; made by ``open``.

    Attributes:
        manifest: The artifact's manifest.
        precision: Whose graphs these are.
        provider: The execution provider in use, as the session says.
        hidden: Length of a token embedding.
    """

    def __init__(self, manifest: Manifest, precision: Precision, sessions: dict[str, Any]) -> None:
        self.manifest = manifest
        self.precision: Precision = precision
        self._sessions = sessions
        for role, session in sessions.items():
            _require_contract(role, session)
        self.provider: str = sessions["gradient"].get_providers()[0]
        self.hidden: int = sessions["lookup"].get_outputs()[0].shape[-1]

    @classmethod
    def open(
        cls, artifact: Path, *, precision: str = "auto", device: Device = "auto", threads: int = 0
    ) -> Self:
        """Check an artifact and load its white box.

        Args:
            artifact: The folder that export wrote.
            precision: Whose graphs to load; "auto" is the first that has any, in the order in
                which the service chooses.
            device: Where to run; "cuda" refuses to run anywhere else.
            threads: CPU threads of one run; 0 is as many as the container allows.

        Raises:
            ArtifactError: If the artifact has no white box, or is not what its manifest says.
            ProviderError: If CUDA is asked for and does not come up.
        """
        provider = likely_provider(device)

        def chosen(manifest: Manifest) -> Precision:
            return _choose(manifest, precision, provider, artifact)

        manifest, contents = read_artifact(artifact, lambda m: _files(m.precisions[chosen(m)]))
        graph = manifest.precisions[chosen(manifest)]
        # Without a file of weights they stand inside the graph that is served.
        weights = contents[graph.weights or graph.graph]
        sessions = {
            role: open_graph(contents[getattr(graph, role)], weights, device, threads)
            for role in _CONTRACTS
        }
        return cls(manifest, chosen(manifest), sessions)

    def lookup(self, rows: Sequence[Sequence[int]]) -> tuple[Array, NDArray[np.int64]]:
        """Look token embeddings up.

        Args:
            rows: Token ids of each text; at least one row, none empty.

        Returns:
            Embeddings, shape (texts, longest, hidden), and the mask, (texts, longest): 1 at tokens
            and 0 at padding.
        """
        ids, mask = pad_rows(rows, self.manifest.pad_id)
        return self._sessions["lookup"].run([EMBEDDINGS], {_IDS: ids})[0], mask

    def encode(self, token_embeddings: Floats, mask: NDArray[np.integer[Any]]) -> Array:
        """Encode token embeddings to unit rows.

        Args:
            token_embeddings: Shape (batch, seq, hidden).
            mask: 1 at tokens and 0 at padding, shape (batch, seq).

        Returns:
            Vectors, shape (batch, dim).

        Raises:
            InvalidInputError: If the shapes do not fit.
        """
        feed = self._feed(token_embeddings, mask)
        return self._sessions["encode"].run([OUTPUT], feed)[0]

    def gradient(
        self, token_embeddings: Floats, mask: NDArray[np.integer[Any]], cotangent: Floats
    ) -> tuple[Array, Array]:
        """Compute vectors, and the gradient of a loss of them at the token embeddings.

        Args:
            token_embeddings: Shape (batch, seq, hidden).
            mask: 1 at tokens and 0 at padding, shape (batch, seq).
            cotangent: dL/dvector, shape (batch, dim).

        Returns:
            Vectors, shape (batch, dim), and dL/dembedding, shape (batch, seq, hidden), which is 0
            at padding.

        Raises:
            InvalidInputError: If the shapes do not fit.
        """
        feed = self._feed(token_embeddings, mask)
        expected = (len(token_embeddings), self.manifest.dim)
        if cotangent.shape != expected:
            raise InvalidInputError(
                f"got a cotangent of shape {cotangent.shape}; expected {expected}, a row for each "
                "vector: give dL/dvector."
            )
        feed[COTANGENT] = np.asarray(cotangent, dtype=np.float32)
        vectors, gradients = self._sessions["gradient"].run([OUTPUT, GRADIENTS], feed)
        return vectors, gradients

    def _feed(
        self, token_embeddings: Floats, mask: NDArray[np.integer[Any]]
    ) -> dict[str, NDArray[Any]]:
        shape = token_embeddings.shape
        if shape != (*mask.shape, self.hidden) or mask.ndim != 2 or 0 in shape:
            raise InvalidInputError(
                f"got token embeddings of shape {shape} with a mask of shape {mask.shape}; "
                f"expected (batch, seq, {self.hidden}) and (batch, seq), as `lookup` gives them."
            )
        if shape[1] > self.manifest.max_tokens:
            raise InvalidInputError(
                f"got texts of {shape[1]} tokens; expected at most {self.manifest.max_tokens}: "
                "shorten them."
            )
        return {
            EMBEDDINGS: np.asarray(token_embeddings, dtype=np.float32),
            _MASK: np.asarray(mask, dtype=np.int64),
        }


def _files(graph: Graph) -> Iterable[str]:
    return (*graph.white_box, graph.weights or graph.graph)


def _choose(manifest: Manifest, wanted: str, provider: str, artifact: Path) -> Precision:
    """Choose a precision that has a white box."""
    order: list[Precision] = [
        one
        for one in PREFERRED[provider]
        if one in manifest.precisions and manifest.precisions[one].white_box
    ]
    for one in order:
        if wanted in ("auto", one):
            return one
    raise ArtifactError(
        f"{artifact}: got precision={wanted}, and white-box graphs for "
        f"{', '.join(order) or 'no precision'}; expected graphs of lookup, encode and gradient. "
        "Export the checkpoint with fp32 among its precisions and without --no-white-box."
    )


def _require_contract(role: str, session: Any) -> None:
    inputs, outputs = _CONTRACTS[role]
    found = [
        tuple(one.name for one in ends) for ends in (session.get_inputs(), session.get_outputs())
    ]
    if found != [inputs, outputs]:
        raise ArtifactError(
            f"got a {role} graph with inputs {found[0]} and outputs {found[1]}; expected {inputs} "
            f"and {outputs}. Export the artifact again."
        )
