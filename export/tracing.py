"""A transformer encoder as ONNX graphs, traced once, pooling and normalization inside.

The one trace is cut at the token embeddings, so that the graph from ids is, node for node, the
look-up and then the graph from embeddings. The weights never pass through the exporter: they come
from the module, under their own names. The classic exporter is used: what the newer one writes
hides the attention pattern, so that ONNX Runtime fuses none of it.
"""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from app.encoder.session import INPUTS, OUTPUT
from app.errors import ArtifactError
from export.gradient import gradient_of
from export.parts import (
    EMBEDDINGS,
    EPSILON,
    OPSET,
    OUTSIDE_BYTES,
    GraphSet,
    cut,
    initializer,
    stamp,
    tensors_of,
)
from training.model import Encoder

IDS, MASK = INPUTS
STATES = "token_states"

# A batch of two with padding, so that the trace holds no shortcut for the unpadded case.
_EXAMPLE = ((1, 2, 3, 1, 2), (2, 3, 1, 0, 0))
_MASK = ((1, 1, 1, 1, 1), (1, 1, 1, 0, 0))


class _Finished(nn.Module):
    """An encoder that gives its stages too, and a unit vector for a zero one."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.config.dim
        self.register_buffer("fallback", torch.full((1, dim), dim**-0.5))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embeddings = self.encoder.token_embeddings(input_ids)  # (batch, seq, hidden)
        # Copies: a cast to the same type further on would pass for the stage itself in the trace.
        given = embeddings.clone()
        states = self.encoder.token_states(given, attention_mask)  # (batch, seq, states)
        vectors = self.encoder.pool(states.clone(), attention_mask)  # (batch, dim)
        norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)  # (batch, 1)
        finished = torch.where(norms < EPSILON, cast(Tensor, self.fallback), vectors)
        return finished, embeddings, states


@dataclass(frozen=True)
class Trace:
    """An encoder's whole graph, and where it can be cut.

    Attributes:
        model: With token embeddings and token states among its outputs, to cut at.
        tensors: What it keeps outside: views of the module's weights.
    """

    model: onnx.ModelProto
    tensors: dict[str, NDArray[Any]]

    def part(self, inputs: Sequence[str], output: str) -> onnx.ModelProto:
        """Cut the part out that leads from some stages to another; see ``parts.cut``."""
        graph = self.model.graph
        ends = {one.name: one for one in (*graph.input, *graph.output)}
        return cut(self.model, [ends[name] for name in inputs], [ends[output]])


def trace(encoder: Encoder, opset: int = OPSET) -> Trace:
    """Trace a transformer encoder, which must be in evaluation mode and on the CPU.

    Raises:
        ArtifactError: If it cannot be traced.
    """
    finished = _Finished(encoder).eval()
    return Trace(*_with_weights(_trace(finished, opset), finished.state_dict()))


def transformer_graphs(encoder: Encoder, *, white_box: bool = True) -> GraphSet:
    """Trace a transformer encoder.

    Args:
        encoder: In evaluation mode, on the CPU.
        white_box: Make the graphs of the white box too.

    Returns:
        Float32 graphs whose weights are views of the module's. If there is no derivative of what
        the encoder is made of, they are without a white box, and ``refusal`` says why.

    Raises:
        ArtifactError: If the graph is not one that starts from token embeddings.
    """
    whole = trace(encoder)
    # Starting there is what robust training, smoothing and probes rely on, white box or not.
    encode = whole.part([EMBEDDINGS, MASK], OUTPUT)
    graph = whole.part(INPUTS, OUTPUT)
    tensors = tensors_of(graph, whole.tensors)
    if not white_box:
        return GraphSet(graph, tensors)
    try:
        gradient = gradient_of(encode, tensors)
    except ArtifactError as error:
        kind = (encoder.config.backbone or {}).get("model_type", encoder.config.kind)
        return GraphSet(graph, tensors, refusal=f"{kind}: {error}")
    return GraphSet(graph, tensors, whole.part([IDS], EMBEDDINGS), encode, gradient)


def _trace(finished: _Finished, opset: int) -> onnx.ModelProto:
    """Trace with the weights as inputs."""
    backbone = getattr(finished.encoder, "backbone", None)
    if backbone is not None and hasattr(backbone, "set_attn_implementation"):
        # The one implementation whose trace is plain matrix products and a softmax.
        backbone.set_attn_implementation("eager")
    axes = {name: {0: "batch", 1: "seq"} for name in (*INPUTS, EMBEDDINGS, STATES)}
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        torch.inference_mode(),
    ):
        out = Path(folder, "traced.onnx")
        # Tracing warns at each shape that Python reads; verification compares many shapes.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                finished,
                (torch.tensor(_EXAMPLE), torch.tensor(_MASK)),
                out,
                input_names=list(INPUTS),
                output_names=[OUTPUT, EMBEDDINGS, STATES],
                dynamic_axes={**axes, OUTPUT: {0: "batch"}},
                opset_version=opset,
                export_params=False,
                do_constant_folding=False,
                dynamo=False,
            )
        except Exception as error:  # it fails in as many ways as there are architectures
            kind = (finished.encoder.config.backbone or {}).get("model_type", "this encoder")
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise ArtifactError(
                f"got an encoder ({kind}) that cannot be traced: {first}; expected plain tensor "
                "operations. This architecture is not supported."
            ) from error
        return stamp(onnx.load(out))


def _with_weights(
    traced: onnx.ModelProto, weights: Mapping[str, Tensor]
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Turn inputs that are weights into tensors of the graph, the transposed ones turned around."""
    graph = traced.graph
    values = {name: weight.detach().numpy() for name, weight in weights.items()}
    known = {one.name for one in graph.input} & set(values)
    nodes, renamed = [], dict[str, str]()
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in known:
            name = f"{node.input[0]}.T"
            order = list(helper.get_attribute_value(node.attribute[0]))
            values[name] = values[node.input[0]].transpose(order)
            renamed[node.output[0]] = name
            continue
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        nodes.append(node)
    inputs = [one for one in graph.input if one.name not in known]
    used = {name for node in nodes for name in node.input}
    tensors = {
        name: value
        for name, value in values.items()
        if name in used and name in known | set(renamed.values())
    }
    made = helper.make_graph(
        nodes,
        "transformer_encoder",
        inputs,
        list(graph.output),
        [initializer(*one) for one in sorted(tensors.items())],
    )
    model = stamp(helper.make_model(made, opset_imports=traced.opset_import))
    return model, {name: value for name, value in tensors.items() if value.nbytes >= OUTSIDE_BYTES}
