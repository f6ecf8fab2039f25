"""A white box for an artifact that has none, out of the artifact itself.

A static encoder's weights are all in its graph, so its look-up, its vectors from embeddings and
their gradient follow from it; no checkpoint is needed. What is served stays as it is, byte by byte,
and so does the model's id. The look-up takes its table from the graph's own file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from app.artifact import TOKENIZER, Graph, Manifest, Precision, read_artifact
from app.checked import describe_file
from app.encoder.session import Session
from app.encoder.tokenizer import Tokenizer
from app.encoder.weights import read_weights
from app.errors import ArtifactError
from export.bundle import name_graphs, staged, versions, write_models
from export.golden import GOLDEN_TEXTS
from export.graph import STATIC_NAME, static_graphs, static_int4_graphs, static_int8_graphs
from export.parts import GraphSet, Tensors
from export.precision import nibbles
from export.sources import Checkpoint
from export.verify_white_box import verify_white_box
from training.checkpoint import EncoderConfig
from training.model import StaticEncoder

_TABLE, _SCALES = "table", "scales"


def add_white_box(source: Path, out: Path, *, replace: bool = False) -> Manifest:
    """Write a copy of a static encoder's artifact that has a white box.

    Args:
        source: The artifact.
        out: Where the copy shall stand.
        replace: Take the place of what stands there.

    Raises:
        ArtifactError: If the artifact is not what its manifest says, has a white box, is no static
            encoder, or its white box does not give the vectors of its graph.
    """
    before, contents = read_artifact(source, lambda found: [file.path for file in found.files])
    with staged(out, replace=replace) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        precisions: dict[Precision, Graph] = {
            precision: _add(folder, precision, graph, contents)
            for precision, graph in before.precisions.items()
        }
        names = {name for graph in precisions.values() for name in graph.names} | set(contents)
        files = [describe_file(folder / name) for name in sorted(names)]
        manifest = Manifest(**{**dict(before), "precisions": precisions, "files": files})
        manifest.write(folder)
        record = {
            precision: _verify(folder, manifest, precision, contents) for precision in precisions
        }
        added = {"white_box_added": {"figures": record, "versions": versions()}}
        verification = {**before.verification, **added}
        manifest = Manifest(**{**dict(manifest), "verification": verification})
        manifest.write(folder)
    return manifest


def _add(folder: Path, precision: Precision, graph: Graph, contents: Mapping[str, bytes]) -> Graph:
    """Write the white box of one precision beside what is there."""
    if graph.white_box or graph.weights:
        raise ArtifactError(
            f"got an artifact whose {precision} has a white box or a file of weights; expected one "
            "with its weights in its graph and no white box. Use it as it is, or export the "
            "checkpoint anew."
        )
    content = contents[graph.graph]
    if onnx.load_from_string(content).graph.name != STATIC_NAME:
        raise ArtifactError(
            f"got {graph.graph}, which is no static encoder's graph of ours; expected one. Export "
            "the checkpoint anew, with fp32 among its precisions."
        )
    graphs = _graphs(read_weights(content))
    names = name_graphs(precision, graphs).model_copy(
        update={"graph": graph.graph, "weights": None}
    )
    # Outside tensors are bytes within the graph that is served, which stands there already.
    places = {
        name: (content.index(value.tobytes()), value.nbytes)
        for name, value in graphs.tensors.items()
    }
    models = {role: model for role, model in graphs.models().items() if role != "graph"}
    write_models(folder, models, names, graph.graph, places)
    return names


def _graphs(tensors: Tensors) -> GraphSet:
    table = tensors[_TABLE]
    if _SCALES in tensors and table.dtype == np.uint8:
        return static_int4_graphs(table, tensors[_SCALES])
    if _SCALES in tensors:
        return static_int8_graphs(table, tensors[_SCALES])
    return static_graphs(table)


def _verify(
    folder: Path, manifest: Manifest, precision: Precision, contents: Mapping[str, bytes]
) -> dict[str, Any]:
    """Compare with torch, on the table that the graph holds."""
    content = contents[manifest.precisions[precision].graph]
    tensors = read_weights(content)
    table = tensors[_TABLE]
    if table.dtype == np.uint8:
        table = nibbles(table)
    table = table.astype(np.float32)
    if _SCALES in tensors:
        table = table * tensors[_SCALES][:, None]
    config = EncoderConfig(
        kind="static",
        dim=manifest.dim,
        vocab_size=len(table),
        max_tokens=manifest.max_tokens,
        pad_id=manifest.pad_id,
    )
    encoder = StaticEncoder(config).eval()
    encoder.load_state_dict({"embeddings.weight": torch.from_numpy(table)})
    checkpoint = Checkpoint(config, encoder, contents[TOKENIZER].decode(), {})
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    rows = [row.ids for row in tokenizer.tokenize(GOLDEN_TEXTS, "document")]
    session = Session(content, manifest, device="cpu", threads=0)
    return verify_white_box(folder, session, checkpoint, rows, precision)
