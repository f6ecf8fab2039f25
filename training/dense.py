"""Dense layers after pooling: LaBSE's and others' last step before unit length.

As in sentence-transformers: out = activation(W x + b), and with a residual + x, or + V x where the
sizes differ. A folder names the activation by its class; only those in ``ACTIVATIONS`` are made,
with their default settings, so that nothing a folder names is ever imported.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.checkpoint import CheckpointError, DenseLayer
from training.modules import read_json

WEIGHTS = "model.safetensors"
ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.Identity,
        nn.Tanh,
        nn.ReLU,
        nn.GELU,
        nn.SiLU,
        nn.Sigmoid,
        nn.LeakyReLU,
        nn.ELU,
        nn.Softplus,
        nn.Mish,
    )
}
_VECTOR = "sentence_embedding"
_KNOWN = {
    "in_features",
    "out_features",
    "bias",
    "activation_function",
    "module_input_name",
    "module_output_name",
    "use_residual",
}


class Dense(nn.Module):
    """One dense layer; see the module's docstring."""

    def __init__(self, layer: DenseLayer) -> None:
        """Make it with random weights.

        Raises:
            CheckpointError: If its activation is not among ``ACTIVATIONS``.
        """
        super().__init__()
        self.linear = nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
        self.activation = _activation(layer.activation)()
        self.skips = layer.residual
        resized = layer.residual and layer.inputs != layer.outputs
        self.residual = nn.Linear(layer.inputs, layer.outputs, bias=False) if resized else None

    def forward(self, pooled: Tensor) -> Tensor:
        """Compute (batch, inputs) -> (batch, outputs)."""
        found = self.activation(self.linear(pooled))
        if not self.skips:
            return found
        return found + (pooled if self.residual is None else self.residual(pooled))


@dataclass(frozen=True, slots=True)
class DenseFolder:
    """A dense layer on disk, of which the description alone has been read."""

    path: Path
    layer: DenseLayer

    def weights(self) -> dict[str, Tensor]:
        """Read its weights, in float32.

        Raises:
            CheckpointError: If they cannot be read, are not those of the layer, or no numbers.
        """
        path = self.path / WEIGHTS
        if not path.is_file() and (self.path / "pytorch_model.bin").is_file():
            raise CheckpointError(
                f"{self.path} holds its weights in pytorch_model.bin, a pickle, which can run "
                f"code: expected {WEIGHTS}. If you trust it, load the model with "
                "sentence-transformers and save it again"
            )
        try:
            found = {name: weight.float() for name, weight in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read the dense layer {path}: {error}") from error
        with torch.device("meta"):
            expected = {name: w.shape for name, w in Dense(self.layer).state_dict().items()}
        if (shapes := {name: weight.shape for name, weight in found.items()}) != expected:
            raise CheckpointError(
                f"{path} holds {_listed(shapes)}: expected {_listed(expected)}, as config.json "
                "beside it says"
            )
        for name, weight in found.items():
            if not torch.isfinite(weight).all():
                raise CheckpointError(
                    f"{path} has weights in {name} that are not finite: expected numbers"
                )
        return found


def open_dense(path: Path) -> DenseFolder:
    """Read the description of a dense layer that sentence-transformers saved.

    Raises:
        CheckpointError: If it cannot be read or followed to the letter.
    """
    described = read_json(path / "config.json")
    if unknown := sorted(set(described) - _KNOWN):
        raise CheckpointError(
            f"{path / 'config.json'} has {', '.join(unknown)}: expected a dense layer with no more "
            f"than {', '.join(sorted(_KNOWN))}"
        )
    for key in ("module_input_name", "module_output_name"):
        if described.get(key) not in (None, _VECTOR):
            raise CheckpointError(
                f"{path / 'config.json'} has {key} {described[key]!r}: expected {_VECTOR!r}; dense "
                "layers on tokens are not supported"
            )
    try:
        layer = DenseLayer(
            inputs=described.get("in_features", 0),
            outputs=described.get("out_features", 0),
            bias=described.get("bias", True),
            activation=_named(described.get("activation_function"), path),
            residual=described.get("use_residual", False),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CheckpointError(
            f"{path / 'config.json'} describes no dense layer: {first['loc'][0]}: {first['msg']}"
        ) from error
    return DenseFolder(path, layer)


def _named(name: Any, path: Path) -> str:
    """Take the class's name off ``torch.nn.modules.activation.Tanh``."""
    if name is None:
        return "Tanh"  # what sentence-transformers takes where none is written
    package, _, kind = str(name).rpartition(".")
    if not package.startswith("torch.nn"):
        raise CheckpointError(
            f"{path / 'config.json'} has the activation {name!r}, which is not torch's own: "
            f"expected one of torch.nn's {', '.join(ACTIVATIONS)}; no code of a folder is run"
        )
    _activation(kind)
    return kind


def _activation(kind: str) -> type[nn.Module]:
    if kind not in ACTIVATIONS:
        raise CheckpointError(
            f"got a dense layer with the activation {kind!r}: expected one of "
            f"{', '.join(ACTIVATIONS)}; others are not supported"
        )
    return ACTIVATIONS[kind]


def _listed(shapes: dict[str, torch.Size]) -> str:
    return (
        ", ".join(f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items())) or "nothing"
    )
