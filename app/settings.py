"""What the operator can choose: read once from ``TYNTEGRA_*`` and never changed afterwards.

Each field of ``Settings`` has an environment variable of the same name in capitals behind
``TYNTEGRA_``. A variable that begins so and is not known is refused, because a misspelt limit that
is silently ignored is worse than a service that does not start.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from app.address import EMBEDDED, require_address
from app.errors import InvalidInputError
from app.variables import PREFIX, ExpandedPath, Names, Switch, Urls, explain, unknown

__all__ = ["MAX_ITEMS", "PREFIX", "Settings"]

DEFAULT_ARTIFACT = Path(__file__).parent / "default" / "encoder"
ELSEWHERE = frozenset({"TYNTEGRA_DATA", "TYNTEGRA_URL", "TYNTEGRA_KEY"})
"""Variables that other parts read: the corpora of training, the service and key of a client."""
ELSEWHERE_PREFIX = "TYNTEGRA_TEST_"
"""What begins so sets how much the tests do."""

MAX_ITEMS = 4096
"""No list in a request may be longer, whatever the settings say."""


class Settings(BaseModel):
    """Every choice of the service, with its default and its bounds."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=8000, ge=0, le=65535, description="port to listen on; 0 takes any free one"
    )
    hosts: Names = Field(
        default=(),
        description="names accepted in the Host header, by commas; empty: the loopback names while "
        "listening on a loopback address, otherwise any",
    )
    state: ExpandedPath = Field(
        default=Path("~/.local/share/tyntegra"),
        description="directory of the collections; one process at a time",
    )
    artifact: ExpandedPath = Field(
        default=DEFAULT_ARTIFACT,
        description="artifact directory; default: the one that comes along",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to run; `cuda` refuses to start without a GPU"
    )
    precision: Literal["auto", "fp32", "fp16", "int8", "int4"] = Field(
        default="auto",
        description="which of the artifact's graphs to run; `auto`: what suits the device",
    )
    store: str = Field(
        default=EMBEDDED,
        repr=False,  # It may hold a password
        description="where collections are: `embedded`, `postgresql://user@host/database`, or "
        "`http(s)://host:6333` of a Qdrant",
    )
    keys: ExpandedPath | None = Field(
        default=None,
        description="file of SHA-256 hashed API keys, one a line; unset: no keys are asked for",
    )
    dictionaries: ExpandedPath | None = Field(
        default=None,
        description="dictionary of words, or folder of them, for the probe; unset: the small ones "
        "that come along",
    )
    demo: Switch = Field(default=True, description="fill a collection `demo` at the first start")
    log: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="level of the log on standard error; `debug` has a line a request",
    )

    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="threads of a model run; 0: the cores, shared among the replicas",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=64,
        description="copies of the model that run side by side; on GPUs one each",
    )
    gpu_memory_mb: int = Field(
        default=0, ge=0, le=1_048_576, description="MiB of a GPU for a model's work; 0: no limit"
    )
    cuda_graphs: Switch = Field(
        default=False, description="record the kernels of each shape once and play them again"
    )
    tensorrt: ExpandedPath | None = Field(
        default=None,
        description="directory of TensorRT's built engines, which makes it run the model; unset: "
        "CUDA alone",
    )
    max_batch_tokens: int = Field(
        default=0, ge=0, le=1_048_576, description="padded tokens of a model run; 0: measured"
    )
    queue_texts: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="texts that may wait for the model before a 429",
    )
    cache_mb: int = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="MiB of vectors kept for texts that come again; 0: none",
    )
    store_threads: int = Field(default=4, ge=1, le=64, description="store calls that run at a time")
    store_waiting: int = Field(
        default=64, ge=0, le=10_000, description="store calls that may wait before a 429"
    )
    probe_threads: int = Field(default=1, ge=1, le=8, description="probes that run at a time")
    probe_waiting: int = Field(
        default=4, ge=0, le=256, description="probes that may wait before a 429"
    )
    probe_jobs: int = Field(
        default=1, ge=1, le=8, description="probe jobs that run at a time, each in its own process"
    )
    probe_jobs_waiting: int = Field(
        default=16, ge=0, le=256, description="probe jobs that may wait before a 429"
    )
    probe_jobs_kept: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="probe jobs that are kept with their reports once ended; the oldest goes first",
    )
    probe_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of the model's and the store's time for a probe while others ask",
    )
    probe_endpoints: Urls = Field(
        default=(),
        description="services with /v1/embeddings that probes and comparisons may ask, by commas",
    )

    qdrant_key: SecretStr | None = Field(default=None, description="API key of the Qdrant server")
    qdrant_prefix: str = Field(
        default="tyntegra",
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="what the names of collections begin with on the Qdrant server",
    )
    qdrant_shards: int = Field(
        default=1, ge=1, le=1024, description="parts of a new collection; above 1 on a cluster only"
    )
    qdrant_replicas: int = Field(default=1, ge=1, le=32, description="copies of each part")
    qdrant_write_replicas: int = Field(
        default=0, ge=0, le=32, description="copies that must have a write before it counts; 0: all"
    )
    qdrant_read: Literal["one", "majority", "quorum", "all"] = Field(
        default="one", description="copies that are read and must agree"
    )
    qdrant_timeout_s: float = Field(
        default=30.0, ge=1, le=600, description="seconds for a call to Qdrant, tried again or not"
    )

    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=67_108_864,
        description="bytes of a request body, or of a line of an upload, before a 413",
    )
    max_header_bytes: int = Field(
        default=16_384,
        ge=1024,
        le=262_144,
        description="bytes of request line and headers before a 431",
    )
    max_texts: int = Field(
        default=256, ge=1, le=MAX_ITEMS, description="texts of one POST /embed or /v1/embeddings"
    )
    max_text_chars: int = Field(
        default=8192,
        ge=16,
        le=262_144,
        description="characters of a text once normalized before a 413",
    )
    max_document_chars: int = Field(
        default=65_536,
        ge=16,
        le=1_048_576,
        description="characters of a document that is split in windows before a 413",
    )
    max_documents: int = Field(
        default=256, ge=1, le=MAX_ITEMS, description="documents of one upsert"
    )
    max_streams: int = Field(
        default=4, ge=1, le=256, description="uploads of NDJSON that go on at a time before a 429"
    )
    max_snapshots: int = Field(
        default=16, ge=1, le=1000, description="snapshots of one collection before a 409"
    )
    max_queries: int = Field(
        default=64, ge=1, le=MAX_ITEMS, description="queries of one search or probe"
    )
    max_hits: int = Field(
        default=4096, ge=1, le=1_000_000, description="queries times `top_k` of one search"
    )
    max_collections: int = Field(
        default=256, ge=1, le=10_000, description="collections in the store"
    )
    max_connections: int = Field(
        default=512,
        ge=1,
        le=65_536,
        description="open connections before a 503; `tyntegra serve` only",
    )

    header_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="seconds for the request line and headers before a 408",
    )
    body_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="seconds for the body before a 408; an upload: for each KiB of it",
    )
    idle_timeout_s: float = Field(
        default=15.0, gt=0, le=3600, description="seconds an idle connection is kept open"
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="seconds an embed, search or upsert may take before a 429",
    )
    probe_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="seconds of a probe that is waited for; one that asks for more becomes a job",
    )
    probe_job_timeout_s: float = Field(
        default=3600.0, gt=0, le=3600, description="seconds a probe job may ask for, at most"
    )
    drain_s: float = Field(
        default=0.0, ge=0, le=60, description="seconds between turning unready and closing the port"
    )
    shutdown_s: float = Field(
        default=30.0, gt=0, le=600, description="seconds for requests in flight to end on SIGTERM"
    )

    @field_validator("store")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return require_address(value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty variable counts as unset.

        Raises:
            InvalidInputError: If a ``TYNTEGRA_`` variable is unknown, or its value does not fit.
        """
        given: dict[str, str] = {}
        for variable, value in environ.items():
            if not variable.startswith(PREFIX) or variable.startswith(ELSEWHERE_PREFIX):
                continue
            if variable in ELSEWHERE:
                continue
            field = variable.removeprefix(PREFIX).lower()
            if field not in cls.model_fields or variable != variable.upper():
                known = [f"{PREFIX}{name.upper()}" for name in cls.model_fields]
                raise InvalidInputError(unknown(variable, known + sorted(ELSEWHERE)))
            if value.strip():
                given[field] = value.strip()
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise InvalidInputError(explain(error, given)) from None
