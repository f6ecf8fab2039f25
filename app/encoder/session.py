"""Batches of token ids to unit vectors: the one place that knows ONNX Runtime.

The graph pools and normalizes inside, so a run gives finished vectors. What the session says it
runs on is what is reported: the list of available providers names CUDA also where every session
silently falls back to the CPU.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.artifact import Manifest, Precision
from app.encoder.bound import BucketedRuns, memory_of
from app.encoder.buckets import Buckets
from app.encoder.hardware import CPU, CUDA, TENSORRT, Device, Hardware
from app.encoder.weights import external_tensors
from app.errors import ArtifactError, ProviderError

# Read when the library is loaded; unset, it sends usage statistics.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

_LOGGER = logging.getLogger(__name__)

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"

# Best first. The integer graphs run on a GPU too, but are made for the CPU.
PREFERRED: dict[str, tuple[Precision, ...]] = {
    CPU: ("int8", "int4", "fp32", "fp16"),
    CUDA: ("fp16", "fp32", "int8", "int4"),
    TENSORRT: ("fp16", "fp32", "int8", "int4"),
}


class Session:
    """An ONNX Runtime session with the artifact's contract checked.

    Args:
        graph: The graph's bytes.
        manifest: What it must keep to.
        weights: The bytes of the file with its weights, if they are outside.
        device: Where to run.
        threads: CPU threads of one run; 0 is as many as the container allows.
        number: Which replica this is, and on a GPU which GPU it takes.

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
        device: Device | Hardware,
        threads: int = 0,
        number: int = 0,
    ) -> None:
        hardware = device if isinstance(device, Hardware) else Hardware(device, threads)
        self.threads = hardware.threads_each
        self._pad_id, self._dim = manifest.pad_id, manifest.dim
        self._number = number
        self._bucketed: BucketedRuns | None = None
        self._session = open_graph(graph, weights, hardware, number=number)
        self.provider: str = self._session.get_providers()[0]
        self._graphs = hardware.cuda_graphs and self.provider == CUDA
        # What one thread recorded no other can play.
        self._thread = ThreadPoolExecutor(1) if self._graphs else None
        self._require_contract(manifest.dim)

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode token ids, padded here to the longest row, or to a shape that is warm.

        Args:
            rows: Token ids of each text; at least one row, none empty.

        Returns:
            Unit rows, shape (texts, dim).
        """
        if self._thread is not None:
            return self._thread.submit(self._run, rows).result()
        return self._run(rows)

    def fix_shapes(self, buckets: Buckets) -> None:
        """Run nothing but these shapes from now on, and run each of them once now."""
        bucketed = BucketedRuns(
            self._session,
            (*INPUTS, OUTPUT),
            buckets,
            memory_of(onnxruntime, self.provider, self._number),
            dim=self._dim,
            pad_id=self._pad_id,
            options=_recorded if self._graphs else lambda number: None,
        )
        if self._thread is not None:
            self._thread.submit(bucketed.warm_up).result()
        else:
            bucketed.warm_up()
        self._bucketed = bucketed

    def close(self) -> None:
        """End the session's own thread, if it has one."""
        if self._thread is not None:
            self._thread.shutdown()

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        if self._bucketed is not None:
            return self._bucketed.run(rows)
        feed = dict(zip(INPUTS, pad_rows(rows, self._pad_id), strict=True))
        options = _recorded(-1) if self._graphs else None  # nothing to record in passing shapes
        return np.asarray(self._session.run([OUTPUT], feed, options)[0])

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


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad rows of token ids to the longest; gives ids and mask, both (batch, seq)."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    mask = np.arange(lengths.max()) < lengths[:, None]  # (batch, seq)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = [token for row in rows for token in row]
    return ids, mask.astype(np.int64)


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
    return next(one for one in PREFERRED[provider] if one in manifest.precisions)


def likely_provider(device: Device | Hardware) -> str:
    """Name the provider that a session will probably get; only the session knows for sure.

    Raises:
        ProviderError: If a GPU is asked for and this build of ONNX Runtime has no use for it.
    """
    hardware = device if isinstance(device, Hardware) else Hardware(device)
    offered = onnxruntime.get_available_providers()
    if hardware.device == "cuda" and hardware.wanted not in offered:
        raise ProviderError(
            f"got an ONNX Runtime that offers {', '.join(offered)}; expected {hardware.wanted} "
            "because device=cuda. Install the gpu extra instead of cpu (never both), or set "
            "TYNTEGRA_DEVICE=auto or cpu."
        )
    if hardware.device == "cpu":
        return CPU
    return next((one for one in (hardware.wanted, CUDA) if one in offered), CPU)


def open_graph(
    graph: bytes,
    weights: bytes | None,
    device: Device | Hardware,
    threads: int = 0,
    number: int = 0,
) -> onnxruntime.InferenceSession:
    """Open a graph on the device, its weights inside or in the bytes of a file of their own.

    Args:
        graph: The graph's bytes.
        weights: The bytes of the file with its weights, if they are outside.
        device: Where to run.
        threads: CPU threads of one run, if ``device`` is but a name; 0 is as many as allowed.
        number: Which GPU.

    Raises:
        ArtifactError: If ONNX Runtime cannot load it.
        ProviderError: If a GPU is asked for and does not come up.
    """
    hardware = device if isinstance(device, Hardware) else Hardware(device, threads)
    outside = external_tensors(graph, weights)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = hardware.threads_each
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # The arena never gives memory back after one long batch, and saves no time on the CPU.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not adds_in_32_bits():
        # Else products of bytes overflow 16 bits on x86; where they do not, it halves the speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    # The session copies or packs each value, so these views end with this function.
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(view) for view in outside.values()]
    options.add_external_initializers(list(outside), values)
    session = _open_on_gpu(graph, options, hardware, number)
    if session is None:
        session = _open(graph, options, [CPU])
    provider = session.get_providers()[0]
    if hardware.device == "cuda" and provider != hardware.wanted:
        raise ProviderError(_no_gpu(f"a session on {provider}", hardware))
    return session


def adds_in_32_bits(flags: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the processor is known to add products of bytes in 32 bits (VNNI, AMX)."""
    try:
        known = set(flags.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not known.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})


def _open_on_gpu(
    graph: bytes, options: onnxruntime.SessionOptions, hardware: Hardware, number: int
) -> onnxruntime.InferenceSession | None:
    """Open a graph on a GPU; None if there is none to use and none is asked for by name."""
    if likely_provider(hardware) == CPU:
        return None
    offered = onnxruntime.get_available_providers()
    wanted = [one for one in hardware.gpu_providers(number) if one[0] in offered]
    if hardware.tensorrt is not None:
        hardware.tensorrt.mkdir(parents=True, exist_ok=True)
    onnxruntime.preload_dlls(directory="")
    try:
        return _open(graph, options, [*wanted, CPU])
    except ArtifactError as error:
        _open(graph, options, [CPU])  # fails too if it is the graph's fault
        if hardware.device == "cuda":
            raise ProviderError(_no_gpu(f"an error ({error.__cause__})", hardware)) from error
        _LOGGER.warning("No session on GPU %d, so it runs on the CPU: %s", number, error.__cause__)
        return None


def _open(
    graph: bytes, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    try:
        # Left to itself, a session whose provider fails goes on with the CPU, now or in any run.
        session = onnxruntime.InferenceSession(
            graph, sess_options=options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # the library's exceptions have no base of their own
        raise ArtifactError(
            f"got a graph that ONNX Runtime {onnxruntime.__version__} cannot load ({error}); "
            "expected one exported for this version or an older one. Export the artifact again."
        ) from error
    # Kept only for such a fallback, as long as the session lives.
    session._model_bytes = None
    return session


def _no_gpu(got: str, hardware: Hardware) -> str:
    return (
        f"got {got}; expected {hardware.wanted} because device=cuda. Check the driver (580 or "
        "newer for CUDA 13) and that the cuda and cudnn libraries of onnxruntime-gpu are "
        "installed, or set TYNTEGRA_DEVICE=auto or cpu."
    )


def _recorded(number: int) -> onnxruntime.RunOptions:
    """Name the recording that a run plays; -1 is none."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
