"""Half precision for GPUs: weights and products in 16 bits, attention as one operator.

A transformer is traced once more in an older operator set, whose patterns ONNX Runtime's optimizer
knows: it makes one node of each attention, of each sum with a layer norm, and of each bias with an
activation. What comes after the token states (pooling, dense layers, unit length) stays in float32,
and so do inputs and output. A CPU runs such a graph too, but slowly.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper

from app.encoder.session import INPUTS, OUTPUT
from export.parts import (
    DOMAIN,
    GraphSet,
    Tensors,
    initializer,
    move_inside,
    placed,
    stamp,
    tensors_of,
    write_weights,
)
from export.tracing import MASK, STATES, trace
from training.model import Encoder

FUSABLE_OPSET = 17
"""The newest whose graphs the optimizer of ONNX Runtime 1.31 fuses: in 20 its shapes fail."""


def half_transformer_graphs(encoder: Encoder) -> GraphSet:
    """Trace a transformer encoder in half precision.

    Args:
        encoder: In evaluation mode, on the CPU.

    Returns:
        The graph alone; the white box is float32's.
    """
    whole = trace(encoder, FUSABLE_OPSET)
    fused = _optimized(whole.part(INPUTS, STATES), whole.tensors, encoder)
    with _quiet():
        fused.convert_float_to_float16(keep_io_types=True, use_symbolic_shape_infer=True)
    fused.topological_sort()
    body = fused.model
    head = whole.part([STATES, MASK], OUTPUT)
    inside = {one.name: numpy_helper.to_array(one) for one in body.graph.initializer}
    inside |= {
        one.name: numpy_helper.to_array(one)
        for one in move_inside(head, whole.tensors).graph.initializer
    }
    made = helper.make_graph(
        [*body.graph.node, *head.graph.node],
        head.graph.name,
        list(body.graph.input),
        list(head.graph.output),
        [initializer(*one) for one in sorted(inside.items())],
    )
    opsets = [one for one in body.opset_import if one.domain != DOMAIN]
    model = stamp(helper.make_model(made, opset_imports=[*opsets, helper.make_opsetid(DOMAIN, 1)]))
    return GraphSet(model, tensors_of(model, inside))


def count_fused(model: onnx.ModelProto) -> dict[str, int]:
    """Count the operators that stand for several of the standard ones."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.domain == DOMAIN:
            found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def fuse(encoder: Encoder) -> onnx.ModelProto:
    """Fuse a transformer encoder's graph in float32, to compare; its weights inside."""
    whole = trace(encoder, FUSABLE_OPSET)
    model = _optimized(whole.part(INPUTS, OUTPUT), whole.tensors, encoder).model
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return stamp(model)


def _optimized(model: onnx.ModelProto, tensors: Tensors, encoder: Encoder) -> Any:
    """Run the optimizer; gives the library's own wrapping of a model."""
    # Imported late: it takes seconds, and the session's module has to load the library first.
    from onnxruntime.transformers.optimizer import optimize_model

    layout = getattr(getattr(encoder, "backbone", None), "config", None)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = _saved(Path(folder), model, tensors_of(model, tensors))
        return optimize_model(
            str(path),
            model_type="bert",
            num_heads=getattr(layout, "num_attention_heads", 0),
            hidden_size=getattr(layout, "hidden_size", 0),
            opt_level=0,  # no session, and so nothing that depends on this machine
            use_gpu=True,
        )


def _saved(folder: Path, model: onnx.ModelProto, tensors: Tensors) -> Path:
    places = write_weights(folder / "weights", tensors)
    path = folder / "model.onnx"
    path.write_bytes(placed(model, "weights", places).SerializeToString())
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the optimizer from telling what it does not find."""
    logger = logging.getLogger("onnxruntime.transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
