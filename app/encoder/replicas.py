"""Sessions ready to serve: opened, found right by their golden vectors, warm, and their cost known.

Several share one queue: on GPUs one each, on the CPU each with a share of the threads.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.artifact import GOLDEN, TOKENIZER, Manifest, Precision, read_artifact
from app.encoder.buckets import Buckets
from app.encoder.golden import require_golden, unpack_golden
from app.encoder.hardware import CPU, Hardware
from app.encoder.memory import give_back_memory
from app.encoder.session import Session, choose_precision, likely_provider
from app.encoder.split import Cost
from app.encoder.tokenizer import Tokenizer
from app.encoder.warmup import measure_cost, run_all, warm_up
from app.errors import ProviderError

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replicas:
    """Equal sessions of one artifact.

    Attributes:
        manifest: The artifact's manifest.
        precision: The precision in use.
        tokenizer: The artifact's tokenizer.
        sessions: The sessions.
        cost: What a run costs in each.
        canary: Token ids of texts that they are known to encode.
    """

    manifest: Manifest
    precision: Precision
    tokenizer: Tokenizer
    sessions: Sequence[Session]
    cost: Cost
    canary: Sequence[Sequence[int]]


def open_replicas(
    artifact: Path, hardware: Hardware, precision: str, max_batch_tokens: int
) -> Replicas:
    """Check an artifact, open its sessions and warm them up.

    Args:
        artifact: The folder that export wrote.
        hardware: What to run on.
        precision: Which graph to run, or "auto".
        max_batch_tokens: Most padded tokens of one run; 0 is measured.

    Raises:
        ArtifactError: If the artifact is not what its manifest says, or computes other vectors.
        ProviderError: If a GPU is asked for and does not come up.
    """
    provider = likely_provider(hardware)

    def chosen(manifest: Manifest) -> Precision:
        return choose_precision(manifest, precision, provider)

    manifest, contents = read_artifact(
        artifact, lambda m: (TOKENIZER, GOLDEN, *m.precisions[chosen(m)].weighty)
    )
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    graph = manifest.precisions[chosen(manifest)]
    # Popped: once the sessions have them, they need not stay in memory.
    model = contents.pop(graph.graph)
    weights = contents.pop(graph.weights) if graph.weights else None
    sessions = [
        Session(model, manifest, weights=weights, device=hardware, number=number)
        for number in range(hardware.replicas)
    ]
    del model, weights
    found = {session.provider for session in sessions}
    if len(found) > 1:
        raise ProviderError(
            f"got sessions on {' and '.join(sorted(found))}; expected one provider for all "
            f"{hardware.replicas} replicas. Set TYNTEGRA_REPLICAS to the number of GPUs at most."
        )
    if provider != CPU and found == {CPU}:
        # What was chosen for a GPU may be the slowest there is on the CPU.
        _LOGGER.warning("No session came up on a GPU, so the encoder runs on the CPU")
        return open_replicas(artifact, replace(hardware, device="cpu"), precision, max_batch_tokens)
    texts, expected = unpack_golden(contents[GOLDEN], chosen(manifest), manifest.dim)
    rows = [row.ids for row in tokenizer.tokenize(texts, "document")]
    for session in sessions:
        require_golden(texts, run_all(session.run, rows), expected)
    cost = _warm(sessions, rows[0], manifest.max_tokens, max_batch_tokens)
    give_back_memory()
    return Replicas(manifest, chosen(manifest), tokenizer, sessions, cost, rows[:1])


def _warm(
    sessions: Sequence[Session], row: Sequence[int], longest: int, max_batch_tokens: int
) -> Cost:
    on_gpu = sessions[0].provider != CPU
    for session in sessions if not on_gpu else sessions[:1]:
        warm_up(session.run, row, longest)
    cost = measure_cost(sessions[0].run, row, longest, max_batch_tokens, on_gpu=on_gpu)
    if not on_gpu:
        return cost
    buckets = Buckets.up_to(longest, cost.max_tokens)
    for session in sessions:
        session.fix_shapes(buckets)
    return replace(cost, buckets=buckets)
