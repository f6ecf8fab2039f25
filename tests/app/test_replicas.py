from pathlib import Path
from typing import Any

import pytest

from app.encoder import session as session_module
from app.encoder.hardware import CPU, CUDA, Hardware
from app.encoder.replicas import open_replicas
from app.encoder.session import Session
from app.errors import ProviderError


def test_open_replicas_are_equal_and_share_the_threads(tiny_artifact: Path) -> None:
    replicas = open_replicas(tiny_artifact, Hardware("cpu", threads=2, replicas=2), "auto", 0)

    assert [session.provider for session in replicas.sessions] == [CPU, CPU]
    assert [session.threads for session in replicas.sessions] == [2, 2]
    assert replicas.cost.buckets is None
    assert replicas.precision == "int8"


def test_open_replicas_budget_asked_for_is_kept(tiny_artifact: Path) -> None:
    assert open_replicas(tiny_artifact, Hardware("cpu"), "auto", 640).cost.max_tokens == 640


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU build of ONNX Runtime where no GPU is: its sessions run on the CPU."""
    library = session_module.onnxruntime
    true = library.InferenceSession

    def falls_back(graph: bytes, **options: Any) -> Any:
        return true(graph, **{**options, "providers": [CPU]})

    monkeypatch.setattr(library, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(library, "preload_dlls", lambda **_: None)
    monkeypatch.setattr(library, "InferenceSession", falls_back)


@pytest.mark.usefixtures("gpu_build")
def test_open_replicas_without_a_gpu_takes_what_suits_the_cpu(tiny_artifact: Path) -> None:
    replicas = open_replicas(tiny_artifact, Hardware("auto"), "auto", 0)

    assert replicas.precision == "int8"  # on a GPU it would be fp32
    assert replicas.sessions[0].provider == CPU
    with pytest.raises(ProviderError, match="device=cuda"):
        open_replicas(tiny_artifact, Hardware("cuda"), "auto", 0)


def test_open_replicas_on_a_gpu_run_warm_shapes_alone(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session on the CPU that is taken for one on a GPU, down to its buffers."""
    monkeypatch.setattr(session_module, "memory_of", _memory_on_the_cpu(session_module.memory_of))
    true = Session.__init__

    def init(self: Session, *arguments: Any, **options: Any) -> None:
        true(self, *arguments, **options)
        self.provider = CUDA

    monkeypatch.setattr(Session, "__init__", init)
    replicas = open_replicas(tiny_artifact, Hardware("cpu", replicas=2), "fp32", 0)

    assert replicas.cost.buckets is not None
    assert replicas.cost.buckets.lengths[-1] == replicas.manifest.max_tokens
    for session in replicas.sessions:
        assert session._bucketed is not None
        shapes = dict(session._bucketed._slots)
        session.run([[5] * 13] * 3)
        assert session._bucketed._slots == shapes


def _memory_on_the_cpu(true: Any) -> Any:
    return lambda library, provider, number: true(library, CPU, number)


def test_open_replicas_on_different_providers_are_refused(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Session.__init__

    def init(self: Session, *arguments: Any, number: int, **options: Any) -> None:
        true(self, *arguments, number=number, **options)
        self.provider = CPU if number else CUDA

    monkeypatch.setattr(Session, "__init__", init)

    with pytest.raises(ProviderError, match="TYNTEGRA_REPLICAS"):
        open_replicas(tiny_artifact, Hardware("cpu", replicas=2), "auto", 0)
