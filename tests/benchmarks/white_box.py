"""Measure white-box attacks and certificates of an artifact on the demo collection.

    python tests/benchmarks/white_box.py --artifact app/default/encoder

Documents are those of the demo in memory, each query's own top hit is the document to lose, and
success means that it leaves the top 10. Prints one JSON line for each measurement. With
``--checkpoint`` the speed of gradients is measured against torch's, side by side.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.artifact import load_manifest
from app.encoder.gradient import WhiteBox
from app.encoder.spelling import Spelling
from app.encoder.tokenizer import Tokenizer
from app.robustness.aim import Demote
from app.robustness.ball import Ball
from app.robustness.binomial import share_interval
from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import gaussian_certificate
from app.robustness.descent import push, scatter
from app.robustness.epsilon import least_epsilon
from app.robustness.hotflip import Flips, flip_tokens
from app.robustness.inside import RUN_TOKENS, Inside
from app.robustness.margin import margin_radius
from app.robustness.poisoning import DEPTHS, query_groups
from app.robustness.pool import Pool, pool_of
from app.robustness.smoothing import Lens, Noise, noisy_vectors
from app.robustness.substitution import row_of
from app.robustness.trigger import Search, find_trigger

DEMO = Path(__file__).parents[2] / "app" / "default" / "demo"
TOP_K = 10
EPSILONS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class Bench:
    """The demo seen through an artifact's white box."""

    def __init__(self, artifact: Path, queries: int, device: Any) -> None:
        manifest = load_manifest(artifact)
        tokenizer = Tokenizer((artifact / "tokenizer.json").read_bytes(), manifest)
        self.speller = Spelling(tokenizer, manifest, "query")
        documents = Spelling(tokenizer, manifest, "document")
        box = WhiteBox.open(artifact, device=device, threads=1 if device == "cpu" else 0)
        run_tokens = RUN_TOKENS if device == "cpu" else 64 * RUN_TOKENS
        self.inside = Inside(box, self.speller.vocabulary, run_tokens)
        self.lens = Lens(self.inside)
        texts = [line["text"] for line in lines("documents.jsonl")]
        self.speller.learn(texts)
        names = [line["doc_id"] for line in lines("documents.jsonl")]
        vectors = self.lens.texts([row_of(one) for one in documents.read(texts)])
        self.pool: Pool = pool_of(names, vectors)
        # Spread over the languages, which follow one another in the file.
        every = [line["text"] for line in lines("queries.jsonl")]
        self.texts = every[:: max(1, len(every) // queries)][:queries]
        self.rows = [row_of(one) for one in self.speller.read(self.texts)]
        self.clean = self.lens.texts(self.rows)
        best = self.pool.scores(self.clean).argmax(axis=1)
        self.best = [names[place] for place in best]
        self.aim = self.demote(slice(None))

    def demote(self, part: slice) -> Demote:
        """Aim at the own top hits of some queries."""
        return Demote(self.pool, [[name] for name in self.best[part]], TOP_K)


def lines(name: str) -> list[dict[str, Any]]:
    """Read a file of the demo collection."""
    return [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]


def share(successes: int, n: int) -> list[float]:
    """A share with its interval."""
    return [round(value, 3) for value in (successes / n, *share_interval(successes, n))]


def embeddings(bench: Bench) -> Iterator[dict[str, Any]]:
    """PGD, and random noise of the same size and budget."""
    for epsilon in EPSILONS:
        began, calls = time.perf_counter(), bench.inside.calls
        found = push(bench.lens, bench.rows, bench.aim, Ball(epsilon, "text"))
        spent, calls = time.perf_counter() - began, bench.inside.calls - calls
        control = scatter(bench.lens, bench.rows, bench.aim, Ball(epsilon, "text"))
        yield {
            "what": "pgd",
            "epsilon": epsilon,
            "success": share(sum(one.success for one in found), len(found)),
            "random": share(sum(one.success for one in control), len(control)),
            "gradients_per_s": round(calls / spent),
        }


def tokens(bench: Bench) -> Iterator[dict[str, Any]]:
    """HotFlip by edits, and a trigger on queries that it was not made with."""
    for edits in (1, 2, 3):
        began = time.perf_counter()
        found = flip_tokens(bench.lens, bench.speller, bench.texts, bench.aim, Flips(edits, 64))
        yield {
            "what": "hotflip",
            "edits": edits,
            "success": share(sum(one.success for one in found), len(found)),
            "mean_calls": round(float(np.mean([one.calls for one in found])), 1),
            "discarded": sum(one.discarded for one in found),
            "tried": sum(one.tried for one in found),
            "not_applicable": sum(not one.applicable for one in found),
            "seconds": round(time.perf_counter() - began, 2),
        }
    known, others = bench.texts[::2], bench.texts[1::2]
    trigger = find_trigger(
        bench.lens, bench.speller, known, bench.demote(slice(0, None, 2)), Search(3, 2, 8)
    )
    read = bench.speller.read([trigger.on(text) for text in others])
    losses, _ = bench.demote(slice(1, None, 2)).look(
        bench.lens.texts([row_of(one) for one in read]), np.arange(len(others))
    )
    yield {
        "what": "trigger",
        "text": trigger.text,
        "calls": trigger.calls,
        "success_known": share(trigger.successes, trigger.queries),
        "success_others": share(int((losses < 0).sum()), len(losses)),
    }


def hubs(bench: Bench) -> Iterator[dict[str, Any]]:
    """The upper bound of poisoning: middles of known queries as documents, on other queries."""
    known, others = bench.clean[::2], bench.clean[1::2]
    for count in (1, 5, 10):
        middles, _ = query_groups(known, count)
        units = middles / np.linalg.norm(middles, axis=1, keepdims=True)
        poison = (others @ units.T).max(axis=1)
        ranks = (bench.pool.scores(others) >= poison[:, None]).sum(axis=1) + 1
        yield {
            "what": "hub vectors",
            "documents": count,
            "hit": {depth: share(int((ranks <= depth).sum()), len(ranks)) for depth in DEPTHS},
        }


def certificates(bench: Bench, samples: int) -> Iterator[dict[str, Any]]:
    """Certified beside empirical, in the same units."""
    margins = [
        margin_radius(vector, bench.pool, frozenset([name]), TOP_K).radius
        for vector, name in zip(bench.clean, bench.best, strict=True)
    ]
    flipped = flip_tokens(bench.lens, bench.speller, bench.texts, bench.aim, Flips(1, 2))
    shifts = [np.linalg.norm(one.vector - v) for one, v in zip(flipped, bench.clean, strict=True)]
    least = least_epsilon(bench.lens, bench.rows, bench.aim, EPSILONS)
    yield {
        "what": "radius",
        "margin_median": round(float(np.median(margins)), 4),
        "shift_of_one_exchange_median": round(float(np.median(shifts)), 4),
        "pgd_least_epsilon_median": float(np.median([one or np.inf for one in least])),
    }
    for sigma in (0.1, 0.5, 1.0):
        noise, sure, found = Noise(sigma, samples), Confidence(0.01), []
        began = time.perf_counter()
        for row in bench.rows:
            # Other noise chooses what this noise certifies.
            first = noisy_vectors(bench.inside, row, Noise(sigma, 100, seed=1)).mean(axis=0)
            name = bench.pool.doc_ids[int(bench.pool.scores(first[None]).argmax())]
            drawn = noisy_vectors(bench.inside, row, noise)
            low = preference(drawn, bench.pool, frozenset([name]), TOP_K, sure)
            entry = noise.entry_sigma(bench.inside)
            found.append(gaussian_certificate(low, entry, bench.inside.mean_norm, samples, sure))
        radii = np.array([one.relative for one in found])
        yield {
            "what": "smoothing",
            "sigma": sigma,
            "samples": samples,
            "abstained": round(float((radii == 0).mean()), 3),
            "certified_median": float(f"{np.median(radii):.3g}"),
            "certified_max": float(f"{radii.max():.3g}"),
            "seconds_per_query": round((time.perf_counter() - began) / len(radii), 3),
        }


def speed(bench: Bench, checkpoint: Path, device: str) -> Iterator[dict[str, Any]]:
    """Gradients a second of 16 tokens, in ONNX Runtime and in torch, by turns."""
    import torch

    from export.sources import load_source

    # On shared cores CPU seconds of one thread are what can be compared; a GPU has its own clock.
    clock = time.process_time if device == "cpu" else time.perf_counter
    encoder = load_source(checkpoint).encoder.to(device)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for batch in (1, 32, 256):
        ids = rng.choice(bench.inside.vocabulary, (batch, 16))
        looked = bench.inside.box.lookup(ids.tolist())[0]
        cotangent = rng.standard_normal((batch, bench.pool.vectors.shape[1])).astype(np.float32)
        mask = torch.ones((batch, 16), dtype=torch.long, device=device)
        leaf = torch.tensor(looked, device=device, requires_grad=True)
        wanted = torch.tensor(cotangent, device=device)

        def ours(looked: Any = looked, cotangent: Any = cotangent) -> None:
            bench.inside.gradients(looked, cotangent)

        def theirs(leaf: Any = leaf, mask: Any = mask, wanted: Any = wanted) -> None:
            loss = (encoder.pool_from_embeddings(leaf, mask) * wanted).sum()
            torch.autograd.grad(loss, leaf)[0].cpu()

        took: dict[str, list[float]] = {"onnxruntime": [], "torch": []}
        for _ in range(7):
            for name, run in (("onnxruntime", ours), ("torch", theirs)):
                began = clock()
                run()
                took[name].append(clock() - began)
        rates = {name: round(batch / float(np.median(some))) for name, some in took.items()}
        yield {"what": "gradients_per_s", "batch": batch, "tokens": 16, **rates}


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, default=DEMO.parent / "encoder")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--checkpoint", type=Path)
    chosen = parser.parse_args()
    bench = Bench(chosen.artifact, chosen.queries, chosen.device)
    print(json.dumps({"what": "artifact", "mean_token_norm": round(bench.inside.mean_norm, 4)}))
    parts = [embeddings(bench), tokens(bench), hubs(bench), certificates(bench, chosen.samples)]
    if chosen.checkpoint:
        parts.append(speed(bench, chosen.checkpoint, chosen.device))
    for part in parts:
        for line in part:
            print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
