"""Batches of token ids to unit vectors: the one place that knows ONNX Runtime.

The graph pools and normalizes inside, so a run gives finished vectors. What the session says it
runs on is what is reported: the list of available providers names CUDA also where every session
silently falls back to the CPU.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.artifact import Manifest, Precision
from app.encoder.weights import external_tensors
from app.errors import ArtifactError, ProviderError

# Read when the library is loaded; unset, it sends usage statistics.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

Device = Literal["auto", "cpu", "cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"

# Best first. The integer graph runs on a GPU too, but is made for the CPU.
_PREFERRED: dict[str, tuple[Precision, ...]] = {
    CPU: ("int8", "fp32", "fp16"),
    CUDA: ("fp16", "fp32", "int8"),
}


class Session:
    """An ONNX Runtime session with the artifact's contract checked.

    Attributes:
        provider: The execution provider in use, as the session itself says.
        threads: Threads that one run uses on the CPU.
    """

    def __init__(
        self,
        graph: bytes,
        manifest: Manifest,
        *,
        weights: bytes | None = None,
        device: Device,
        threads: int,
    ) -> None:
        self.threads = threads or cpu_limit()
        self._pad_id = manifest.pad_id
        self._session = open_graph(graph, weights, device, self.threads)
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise ProviderError(
                f"got a session on {self.provider}; expected {CUDA} because device=cuda. Check the "
                "driver (580 or newer for CUDA 13) and that the cuda and cudnn libraries of "
                "onnxruntime-gpu are installed, or set TYNTEGRA_DEVICE=auto or cpu."
            )
        self._require_contract(manifest.dim)

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode token ids, padded here to the longest row.

        Args:
            rows: Token ids of each text; at least one row, none empty.

        Returns:
            Unit rows, shape (texts, dim).
        """
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        mask = np.arange(lengths.max()) < lengths[:, None]  # (batch, seq)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = [token for row in rows for token in row]
        feed = dict(zip(INPUTS, (ids, mask.astype(np.int64)), strict=True))
        return np.asarray(self._session.run([OUTPUT], feed)[0])

    def _require_contract(self, dim: int) -> None:
        inputs = {node.name: node.type for node in self._session.get_inputs()}
        outputs = {node.name: (node.type, node.shape[-1]) for node in self._session.get_outputs()}
        expected_inputs = dict.fromkeys(INPUTS, "tensor(int64)")
        expected_outputs = {OUTPUT: ("tensor(float)", dim)}
        if inputs != expected_inputs or outputs != expected_outputs:
            raise ArtifactError(
                f"got a graph with inputs {inputs} and outputs {outputs}; expected "
                f"{expected_inputs} and {expected_outputs}. Export the artifact again."
            )


def choose_precision(manifest: Manifest, wanted: str, provider: str) -> Precision:
    """Choose which of the artifact's graphs to run.

    Raises:
        ArtifactError: If the artifact lacks the precision that is wanted.
    """
    for precision in manifest.precisions:
        if wanted == precision:
            return precision
    if wanted != "auto":
        raise ArtifactError(
            f"got precision={wanted}, which this artifact lacks; expected one of "
            f"{', '.join(manifest.precisions)}. Set TYNTEGRA_PRECISION to it or to auto."
        )
    return next(one for one in _PREFERRED[provider] if one in manifest.precisions)


def likely_provider(device: Device) -> str:
    """Name the provider that a session will probably get; only the session knows for sure.

    Raises:
        ProviderError: If CUDA is asked for and this build of ONNX Runtime has none.
    """
    offered = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in offered:
        raise ProviderError(
            f"got an ONNX Runtime that offers {', '.join(offered)}; expected {CUDA} because "
            "device=cuda. Install the gpu extra instead of cpu (never both), or set "
            "TYNTEGRA_DEVICE=auto or cpu."
        )
    return CUDA if device != "cpu" and CUDA in offered else CPU


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPUs that this process may use: the container's quota, then its affinity.

    Args:
        root: Where the control groups are mounted.
    """
    allowed = len(os.sched_getaffinity(0))
    return max(1, min([allowed, *map(int, _quotas(root))]))


def _quotas(root: Path) -> list[float]:
    """Read the CPU quotas in force, in CPUs: version 2's file, then version 1's pair."""
    quotas = []
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        quotas.append(int(quota) / int(period))  # "max" is no number: no limit
    with contextlib.suppress(OSError, ValueError):
        quota, period = (
            int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        if quota > 0:  # -1: no limit
            quotas.append(quota / period)
    return quotas


def open_graph(
    graph: bytes, weights: bytes | None, device: Device, threads: int
) -> onnxruntime.InferenceSession:
    """Open a graph on the device, its weights inside or in the bytes of a file of their own.

    Raises:
        ArtifactError: If ONNX Runtime cannot load it.
        ProviderError: If CUDA is asked for and this build of ONNX Runtime has none.
    """
    outside = external_tensors(graph, weights)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # The arena never gives memory back after one long batch, and saves no time on the CPU.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # The session copies or packs each value, so these views end with this function.
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(view) for view in outside.values()]
    options.add_external_initializers(list(outside), values)
    providers = [CPU]
    if likely_provider(device) == CUDA:
        onnxruntime.preload_dlls(directory="")
        providers = [CUDA, CPU]
    try:
        return onnxruntime.InferenceSession(graph, sess_options=options, providers=providers)
    except Exception as error:  # the library's exceptions have no base of their own
        raise ArtifactError(
            f"got a graph that ONNX Runtime {onnxruntime.__version__} cannot load ({error}); "
            "expected one exported for this version or an older one. Export the artifact again."
        ) from error
