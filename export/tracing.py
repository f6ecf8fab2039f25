"""A transformer encoder as an ONNX graph, traced with pooling and normalization inside.

The classic exporter is used: what the newer one writes hides the attention pattern, so that ONNX
Runtime fuses none of it.
"""

import tempfile
import warnings
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from app.encoder.session import INPUTS, OUTPUT
from app.errors import ArtifactError
from export.graph import EPSILON, OPSET, finish
from training.model import Encoder

# A batch of two with padding, so that the trace holds no shortcut for the unpadded case.
_IDS = ((1, 2, 3, 1, 2), (2, 3, 1, 0, 0))
_MASK = ((1, 1, 1, 1, 1), (1, 1, 1, 0, 0))


MOST_BYTES = 2**31 - 2**24
"""Of weights in float32: a protobuf ends at 2 GiB, and the graph itself needs some of it."""


class _Finished(nn.Module):
    """An encoder whose zero vectors become a fixed unit vector."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.config.dim
        self.register_buffer("fallback", torch.full((1, dim), dim**-0.5))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.encoder(input_ids, attention_mask)  # (batch, dim)
        norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)  # (batch, 1)
        return torch.where(norms < EPSILON, cast(Tensor, self.fallback), vectors)


def transformer_graph(encoder: Encoder) -> onnx.ModelProto:
    """Trace a transformer encoder.

    Args:
        encoder: In evaluation mode, on the CPU.

    Returns:
        A float32 graph with its weights inside.

    Raises:
        ArtifactError: If the weights are more than one ONNX file can hold.
    """
    size = sum(weight.numel() * weight.element_size() for weight in encoder.state_dict().values())
    if size > MOST_BYTES:
        raise ArtifactError(
            f"got {size} bytes of weights; expected at most {MOST_BYTES}, what one ONNX file can "
            "hold. Train it with a smaller vocabulary (tokenizer.source = 'learn') or a smaller "
            "backbone."
        )
    backbone = getattr(encoder, "backbone", None)
    if backbone is not None and hasattr(backbone, "set_attn_implementation"):
        # The one implementation whose trace is plain matrix products and a softmax.
        backbone.set_attn_implementation("eager")
    axes = {name: {0: "batch", 1: "seq"} for name in INPUTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        torch.inference_mode(),
    ):
        out = Path(folder, "traced.onnx")
        # Tracing warns at each shape that Python reads; verification compares many shapes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Finished(encoder).eval(),
            (torch.tensor(_IDS), torch.tensor(_MASK)),
            out,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={**axes, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
        return finish(onnx.load(out))
