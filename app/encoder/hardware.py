"""What to run on: the operator's choice, put into the options of ONNX Runtime's providers."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Device = Literal["auto", "cpu", "cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

MOST_ROWS = 512
"""Most texts of one run on a GPU."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to run on.

    Attributes:
        device: Where; "cuda" refuses to run anywhere else.
        threads: CPU threads of one run; 0 shares what the container allows among the replicas.
        replicas: Sessions that share the queue; on GPUs, one for each of the first so many.
        gpu_memory_mb: Most memory of a session's arena on its GPU; 0 is no limit.
        cuda_graphs: Record the kernels of each shape once and play them again.
        tensorrt: Folder of TensorRT's built engines; None leaves TensorRT out.
    """

    device: Device = "auto"
    threads: int = 0
    replicas: int = 1
    gpu_memory_mb: int = 0
    cuda_graphs: bool = False
    tensorrt: Path | None = None

    @property
    def wanted(self) -> str:
        """The provider that a session on a GPU is to run on."""
        return TENSORRT if self.tensorrt else CUDA

    @property
    def threads_each(self) -> int:
        """CPU threads of one run."""
        return self.threads or max(1, cpu_limit() // self.replicas)

    def gpu_providers(self, number: int) -> list[tuple[str, dict[str, Any]]]:
        """Write the options of the providers on one GPU, the preferred one first."""
        limit = self.gpu_memory_mb * 2**20
        cuda: dict[str, Any] = {
            "device_id": number,
            # All shapes are run before the service is ready, the largest first, so later runs find
            # room in what was asked for then; powers of two would hold up to twice of that.
            "arena_extend_strategy": "kSameAsRequested",
            # Trying all algorithms makes the first run of each shape take seconds.
            "cudnn_conv_algo_search": "HEURISTIC",
            # Products in 10 bits would give other vectors than those that were verified.
            "use_tf32": 0,
        }
        if limit:
            cuda["gpu_mem_limit"] = limit
        if self.cuda_graphs:
            cuda["enable_cuda_graph"] = 1
        if self.tensorrt is None:
            return [(CUDA, cuda)]
        tensorrt: dict[str, Any] = {
            "device_id": number,
            # An engine takes minutes to build and fits one kind of GPU and one version.
            "trt_engine_cache_enable": 1,
            "trt_engine_cache_path": str(self.tensorrt),
            "trt_timing_cache_enable": 1,
            "trt_timing_cache_path": str(self.tensorrt),
        }
        if limit:
            tensorrt["trt_max_workspace_size"] = limit
        if self.cuda_graphs:
            tensorrt["trt_cuda_graph_enable"] = 1
        # What TensorRT does not take runs on CUDA; recording is then its business alone.
        cuda.pop("enable_cuda_graph", None)
        return [(TENSORRT, tensorrt), (CUDA, cuda)]


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
