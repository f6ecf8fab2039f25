"""How far an artifact may be from its checkpoint, by figure and precision; and the refusal.

A figure is 0 where both agree. Each goes into the manifest with its tolerance, and one beyond it
ends the export. The tolerances are many times what sound graphs were measured at, and far below
what a broken one gives.
"""

from collections.abc import Mapping
from typing import Any

from app.artifact import Precision
from app.errors import ArtifactError

TOLERANCES: dict[str, Mapping[Precision, float]] = {
    # 1 - cosine to torch, from text to vector and from token ids to vector.
    "texts_to_torch": {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-2, "int4": 3e-2},
    "shapes_to_torch": {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-2, "int4": 3e-2},
    # Share of a text's ten nearest by torch that are not among its ten nearest here.
    "neighbors_lost": {"fp32": 0.001, "fp16": 0.02, "int8": 0.05, "int4": 0.2},
    "neighbors_lost_of_a_text": {"fp32": 0.1, "fp16": 0.3, "int8": 0.5, "int4": 0.8},
    # 1 - cosine of a text alone and in a padded batch.
    "alone_to_batch": {"fp32": 1e-7, "fp16": 1e-5, "int8": 1e-7, "int4": 1e-7},
    "norm_error": {"fp32": 1e-5, "fp16": 1e-5, "int8": 1e-5, "int4": 1e-5},
    "accuracy_loss_points": {"fp32": 0.5, "fp16": 0.5, "int8": 0.5, "int4": 1.0},
    # The white box. Token embeddings: relative to their length. Vectors: 1 - cosine.
    "lookup_to_torch": {"fp32": 1e-6, "fp16": 1e-3, "int8": 5e-2, "int4": 3e-1},
    "encode_to_torch": {"fp32": 1e-6, "fp16": 1e-3, "int8": 1e-6, "int4": 1e-6},
    "ids_to_lookup_and_encode": {"fp32": 1e-6, "fp16": 1e-4, "int8": 1e-6, "int4": 1e-6},
    # Length of the difference to torch's gradient, relative to the gradient's.
    "gradient_to_torch": {"fp32": 1e-3, "fp16": 1e-2, "int8": 1e-3, "int4": 1e-3},
    "gradient_alone_to_batch": {"fp32": 1e-3, "fp16": 1e-2, "int8": 1e-3, "int4": 1e-3},
    # Vectors and gradients, when what stands in the padding is exchanged; its own gradient.
    "white_box_padding": {"fp32": 1e-5, "fp16": 1e-3, "int8": 1e-5, "int4": 1e-5},
    "padding_gradient": {"fp32": 0.0, "fp16": 0.0, "int8": 0.0, "int4": 0.0},
}
"""The worst that is let through; of ``neighbors_lost`` the mean over texts."""

_NAMES = {
    "texts_to_torch": "{} against torch",
    "shapes_to_torch": "{} shapes against torch",
    "neighbors_lost": "{} ten nearest texts against torch's, on average",
    "neighbors_lost_of_a_text": "{} ten nearest texts of a text against torch's",
    "alone_to_batch": "{} alone against in a batch",
    "norm_error": "{} vector length",
    "accuracy_loss_points": "{} accuracy loss in points",
    "lookup_to_torch": "{} lookup graph against torch",
    "encode_to_torch": "{} encode graph against torch",
    "ids_to_lookup_and_encode": "{} graph against its lookup and encode graphs",
    "gradient_to_torch": "{} gradient graph against torch's autograd",
    "gradient_alone_to_batch": "{} gradient alone against in a batch",
    "white_box_padding": "{} white box with other padding",
    "padding_gradient": "{} gradient of padding",
}


def require(figure: str, precision: Precision, got: float, where: str = "") -> dict[str, Any]:
    """Hold a figure against its tolerance.

    Args:
        figure: A key of ``TOLERANCES``.
        precision: Of the graph that it was measured on.
        got: Its worst value; not a number fails too.
        where: What it was measured at, for the message.

    Returns:
        The figure for the record: its worst value and its tolerance.

    Raises:
        ArtifactError: If it is beyond its tolerance.
    """
    tolerance = TOLERANCES[figure][precision]
    if not got <= tolerance:
        name = _NAMES[figure].format(precision)
        raise ArtifactError(
            f"verification failed: {name} is off by {got:.2e}{where and f' at {where}'}; expected "
            f"at most {tolerance:.0e}. Nothing was written; look at the checkpoint, or leave this "
            "precision out."
        )
    return {"worst": got, "tolerance": tolerance}
