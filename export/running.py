"""Run a graph that is still in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from app.encoder.session import CPU, onnxruntime
from app.errors import ArtifactError
from export.parts import Tensors, copy_of


def run_graph(
    model: onnx.ModelProto,
    tensors: Tensors,
    feed: dict[str, NDArray[Any]],
    outputs: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Run a graph as it stands, without optimization, for any of its tensors.

    Args:
        model: The graph.
        tensors: What it keeps outside.
        feed: Values of its inputs.
        outputs: Names of the tensors to give, inner ones too.

    Raises:
        ArtifactError: If the runtime cannot run it.
    """
    if not outputs:
        return {}
    watched = copy_of(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [
        one.name for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL
    ]
    values = [
        onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(tensors[name], order="C"))
        for name in names
    ]
    options.add_external_initializers(names, values)
    try:
        session = onnxruntime.InferenceSession(watched.SerializeToString(), options, [CPU])
        found = [np.asarray(value) for value in session.run(list(outputs), feed)]
    except Exception as error:  # its exceptions share no class of their own
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ArtifactError(
            f"got a graph that does not run: {first}; expected one for any batch. This "
            "architecture is not supported."
        ) from error
    return dict(zip(outputs, found, strict=True))
