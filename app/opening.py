"""From settings to an open encoder and an open store; only what is asked for is imported."""

import os
from typing import TYPE_CHECKING

from app.address import engine_of
from app.errors import StoreError
from app.retrieval.store import VectorStore
from app.settings import Settings

if TYPE_CHECKING:
    from app.encoder.encoder import TextEncoder

_SPARE_CONNECTIONS = 4
"""For readiness, reindexing and the like, beside the threads that serve requests."""


def open_text_encoder(settings: Settings) -> "TextEncoder":
    """Open the encoder that the settings name; blocking.

    Raises:
        ArtifactError: If the artifact is not what its manifest says, or computes other vectors.
        ProviderError: If CUDA is asked for and does not come up.
    """
    # Requests and batches are tokenized side by side as it is; more threads for each would only
    # get in the way of each other and of the model.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from app.encoder.encoder import TextEncoder
    from app.encoder.hardware import Hardware

    hardware = Hardware(
        device=settings.device,
        threads=settings.threads,
        replicas=settings.replicas,
        gpu_memory_mb=settings.gpu_memory_mb,
        cuda_graphs=settings.cuda_graphs,
        tensorrt=settings.tensorrt,
    )
    return TextEncoder.open(
        settings.artifact,
        device=hardware,
        precision=settings.precision,
        max_batch_tokens=settings.max_batch_tokens,
        queue_texts=settings.queue_texts,
    )


def open_store(settings: Settings) -> VectorStore:
    """Open the store that the settings name; blocking.

    Raises:
        ConflictError: If another process holds the directory of the embedded store.
        NotReadyError: If the server does not answer.
        StoreError: If the store cannot be used, or the engine's client is not installed.
    """
    match engine_of(settings.store):
        case "embedded":
            from app.retrieval.edge import EdgeStore

            return EdgeStore.open(settings.state)
        case "postgresql":
            return _open_postgres(settings)
        case "qdrant":
            return _open_qdrant(settings)


def _open_postgres(settings: Settings) -> VectorStore:
    try:
        from app.retrieval.postgres.store import PostgresStore
    except ImportError as error:
        raise _not_installed("PostgreSQL", "postgres", error) from error
    threads = settings.store_threads + settings.probe_threads + settings.probe_jobs
    return PostgresStore.open(settings.store, connections=threads + _SPARE_CONNECTIONS)


def _open_qdrant(settings: Settings) -> VectorStore:
    try:
        from app.retrieval.qdrant.nodes import Cluster
        from app.retrieval.qdrant.store import QdrantStore
    except ImportError as error:
        raise _not_installed("Qdrant", "qdrant", error) from error
    cluster = Cluster(
        prefix=settings.qdrant_prefix,
        key=settings.qdrant_key.get_secret_value() if settings.qdrant_key else None,
        shards=settings.qdrant_shards,
        replicas=settings.qdrant_replicas,
        write_replicas=settings.qdrant_write_replicas,
        read=settings.qdrant_read,
        timeout_s=settings.qdrant_timeout_s,
    )
    return QdrantStore.open(settings.store, cluster)


def _not_installed(engine: str, extra: str, error: ImportError) -> StoreError:
    return StoreError(
        f"TYNTEGRA_STORE names {engine}, whose client is not installed ({error.msg}); install it "
        f"with: pip install -e '.[{extra}]'"
    )
