import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.artifact import Manifest, load_manifest
from app.encoder import session as session_module
from app.encoder.buckets import Buckets
from app.encoder.hardware import CPU, CUDA, TENSORRT, Hardware, cpu_limit
from app.encoder.session import Session, choose_precision, likely_provider
from app.errors import ArtifactError, ProviderError

ROOT = Path(__file__).parents[2]
HAS_CUDA = CUDA in session_module.onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    return load_manifest(tiny_artifact)


@pytest.fixture(scope="module", params=["int8", "fp32"])
def session(request: pytest.FixtureRequest, tiny_artifact: Path, manifest: Manifest) -> Session:
    graph = (tiny_artifact / f"model.{request.param}.onnx").read_bytes()
    return Session(graph, manifest, device="cpu", threads=1)


def test_run_gives_the_normalized_sum_of_the_rows(session: Session, tiny_table: np.ndarray) -> None:
    (vector,) = session.run([[5, 9, 700]])

    expected = tiny_table[[5, 9, 700]].sum(axis=0)
    assert vector @ expected / np.linalg.norm(expected) > 0.9999
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_run_text_alone_and_padded_is_the_same(session: Session) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 1000, size=length).tolist() for length in (1, 3, 8, 21, 64)]

    together = session.run(rows)

    for row, vector in zip(rows, together, strict=True):
        np.testing.assert_allclose(session.run([row])[0], vector, rtol=0, atol=1e-6)


def test_run_tokens_that_cancel_out_give_a_unit_vector(manifest: Manifest) -> None:
    from export.graph import static_graph

    table = np.zeros((manifest.vocab_size, manifest.dim), dtype=np.float32)
    table[5], table[6] = 1.0, -1.0
    graph = static_graph(table).SerializeToString()

    vectors = Session(graph, manifest, device="cpu", threads=1).run([[5, 6], [1], [5]])

    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_session_reports_the_provider_it_runs_on(session: Session) -> None:
    assert session.provider == CPU


@pytest.mark.skipif(HAS_CUDA, reason="this build of ONNX Runtime has CUDA")
def test_session_cuda_without_such_a_build_is_refused(
    tiny_artifact: Path, manifest: Manifest
) -> None:
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()

    with pytest.raises(ProviderError, match="Install the gpu extra"):
        Session(graph, manifest, device="cuda", threads=1)


def test_session_cuda_listed_but_fallen_back_is_refused(
    tiny_artifact: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU build on a machine without a GPU lists CUDA and gives a session on the CPU."""
    Library(monkeypatch, offers=[CUDA, CPU])
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()

    with pytest.raises(ProviderError, match=f"got a session on {CPU}"):
        Session(graph, manifest, device="cuda", threads=1)
    assert Session(graph, manifest, device="auto", threads=1).provider == CPU


class Library:
    """A GPU build of ONNX Runtime where no GPU is: its sessions run on the CPU, or fail."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, offers: list[str], error: str | None = None
    ) -> None:
        library = session_module.onnxruntime
        self.true = library.InferenceSession
        self.error = error
        self.asked: list[list[Any]] = []
        self.options: list[dict[str, Any]] = []
        monkeypatch.setattr(library, "get_available_providers", lambda: offers)
        monkeypatch.setattr(library, "preload_dlls", lambda **_: None)
        monkeypatch.setattr(library, "InferenceSession", self.open)

    def open(self, graph: bytes, **options: Any) -> Any:
        self.asked.append(options["providers"])
        self.options.append(options)
        if self.error and len(options["providers"]) > 1:
            raise RuntimeError(self.error)
        return self.true(graph, **{**options, "providers": [CPU]})


def test_session_gpu_that_fails_is_refused_by_name_and_left_out_by_default(
    tiny_artifact: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    Library(monkeypatch, [CUDA, CPU], error="CUDA failure 35: driver too old")
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()

    with pytest.raises(ProviderError, match="driver too old"):
        Session(graph, manifest, device="cuda")
    assert Session(graph, manifest, device="auto").provider == CPU
    with pytest.raises(ArtifactError, match="cannot load"):  # and not the GPU's fault
        Session(b"no graph", manifest, device="cuda")


def test_session_never_goes_on_with_another_provider(
    tiny_artifact: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(monkeypatch, [CPU])

    session = Session((tiny_artifact / "model.fp32.onnx").read_bytes(), manifest, device="cpu")

    assert library.options[0]["enable_fallback"] == 0
    assert not session._session._enable_fallback


def test_session_tells_the_gpu_what_was_chosen(
    tiny_artifact: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = Library(monkeypatch, [TENSORRT, CUDA, CPU])
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()

    Session(graph, manifest, device=Hardware(gpu_memory_mb=512, cuda_graphs=True), number=1)
    Session(graph, manifest, device=Hardware(tensorrt=tmp_path))

    (name, options), last = library.asked[0]
    assert (name, last) == (CUDA, CPU)
    assert options["device_id"] == 1
    assert options["gpu_mem_limit"] == 512 * 2**20
    assert options["enable_cuda_graph"] == 1
    assert [one if isinstance(one, str) else one[0] for one in library.asked[1]] == [
        TENSORRT,
        CUDA,
        CPU,
    ]
    assert library.asked[1][0][1]["trt_engine_cache_path"] == str(tmp_path)
    assert "gpu_mem_limit" not in library.asked[1][1][1]


def test_session_tensorrt_asked_for_and_not_offered_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Library(monkeypatch, [CUDA, CPU])

    with pytest.raises(ProviderError, match=f"expected {TENSORRT}"):
        likely_provider(Hardware("cuda", tensorrt=tmp_path))
    assert likely_provider(Hardware("auto", tensorrt=tmp_path)) == CUDA


def test_fix_shapes_gives_the_same_vectors(session: Session) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 1000, size=length).tolist() for length in (1, 3, 8, 9, 30, 64, 2)]
    expected = session.run(rows)
    session.fix_shapes(Buckets.up_to(64, 128))

    got = session.run(rows)

    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    session._bucketed = None


def test_threads_are_shared_among_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    limit = cpu_limit()

    assert Hardware(replicas=2).threads_each == max(1, limit // 2)
    assert Hardware(replicas=64).threads_each == 1
    assert Hardware(replicas=2, threads=3).threads_each == 3


def test_likely_provider_cpu_asked_for_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    library = session_module.onnxruntime
    monkeypatch.setattr(library, "get_available_providers", lambda: [CUDA, CPU])

    assert likely_provider("cpu") == CPU
    assert likely_provider("auto") == CUDA


@pytest.mark.parametrize(
    ("wanted", "provider", "expected"),
    [("auto", CPU, "int8"), ("auto", CUDA, "fp32"), ("fp32", CPU, "fp32"), ("int8", CUDA, "int8")],
)
def test_choose_precision_prefers_what_suits_the_provider(
    manifest: Manifest, wanted: str, provider: str, expected: str
) -> None:
    assert choose_precision(manifest, wanted, provider) == expected


def test_choose_precision_missing_one_names_those_there(manifest: Manifest) -> None:
    with pytest.raises(ArtifactError, match="expected one of fp32, int8"):
        choose_precision(manifest, "fp16", CPU)


def test_session_graph_of_another_dimension_is_refused(
    tiny_artifact: Path, manifest: Manifest
) -> None:
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()

    with pytest.raises(ArtifactError, match="got a graph with inputs"):
        Session(graph, manifest.model_copy(update={"dim": 32}), device="cpu", threads=1)


def test_session_bytes_that_are_no_graph_are_refused(manifest: Manifest) -> None:
    with pytest.raises(ArtifactError, match="cannot load"):
        Session(b"no graph", manifest, device="cpu", threads=1)


def test_session_graph_with_data_outside_is_refused(
    tiny_artifact: Path, manifest: Manifest, tmp_path: Path
) -> None:
    model = onnx.load(tiny_artifact / "model.fp32.onnx")
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=1024)

    with pytest.raises(ArtifactError, match="cannot load"):
        Session(path.read_bytes(), manifest, device="cpu", threads=1)


def test_encoder_leaves_no_trace_of_telemetry(tiny_artifact: Path, tmp_path: Path) -> None:
    program = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from app.encoder.encoder import TextEncoder\n"
        "encoder = TextEncoder.open(Path(sys.argv[1]))\n"
        "encoder.encode(['a text'], 'query')\n"
        "encoder.close()\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    # CI and DO_NOT_TRACK switch it off too, and would hide that we do not.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_artifact)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "1"
    assert list(tmp_path.rglob("*")) == []
