"""Static table or small transformer, both at the size of the shipped encoder: which serves better?

    python tests/benchmarks/architecture.py --start runs/default --steps 400

Both go on from the weights of one trained static encoder and see the same batches, step by step in
one run: the table itself, and a residual transformer on a narrower table (its first vectors are
those of the table, since its layers begin as zero). Then accuracy, bytes of the 8-bit graph and
texts a second of both are printed side by side, as JSON. Needs the corpora at TYNTEGRA_DATA.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import torch
from residual import ResidualTransformer
from tokenizers import Tokenizer
from torch import Tensor

from app.retrieval.store import Encode
from app.text.normalize import normalize
from export.graph import static_int8_graph
from export.parts import move_inside
from export.precision import quantize_rows, quantize_transformer
from export.tracing import transformer_graphs
from training.batches import Batch, HybridBatches, Side
from training.checkpoint import load_checkpoint
from training.config import load_config
from training.contrastive import info_nce
from training.corpus import data_folder, iterate_texts, load_bitext, select_corpora
from training.distillation import TeacherVectors, pooled_distillation
from training.evaluate import (
    LOW_RESOURCE,
    flores_accuracy,
    mean_of,
    tatoeba_accuracy,
)
from training.memory import keep_freed_memory
from training.model import Encoder, StaticEncoder, as_encode
from training.optimizer import RowAdam
from training.teacher import teach
from training.tokens import tokenize_texts

ROOT = Path(__file__).parents[2]
CHUNK = 256  # texts of about one length that are encoded together


class Contender:
    """An encoder under training with its optimizers and its clock."""

    def __init__(self, encoder: Encoder, table_rate: float, rate: float) -> None:
        self.encoder, self.seconds = encoder, 0.0
        self._table = next(p for p in encoder.parameters() if len(p) == encoder.config.vocab_size)
        others = [p for p in encoder.parameters() if p is not self._table]
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (RowAdam([self._table], table_rate), table_rate)
        ]
        self._others = others
        if others:
            self._optimizers.append((torch.optim.AdamW(others, rate, weight_decay=0.01), rate))

    def step(self, batch: Batch, loss_of: Callable[[Sequence[Tensor]], Tensor], scale: float):
        """Move the weights once; returns the loss."""
        began = time.monotonic()
        loss = loss_of([self._encode(side) for side in (batch.query, batch.document)])
        loss.backward()
        self._keep_touched_rows(batch)
        if len(self._optimizers) > 1:
            torch.nn.utils.clip_grad_norm_(self._others, 1.0)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.seconds += time.monotonic() - began
        return float(loss.detach())

    def _keep_touched_rows(self, batch: Batch) -> None:
        """Turn the table's dense gradient into its rows: finding them in zeros takes seconds."""
        table = self._table
        if table.grad is None or table.grad.is_sparse:
            return
        ids = [torch.from_numpy(side.input_ids).ravel() for side in (batch.query, batch.document)]
        rows = torch.unique(torch.cat(ids))
        table.grad = torch.sparse_coo_tensor(
            rows[None], table.grad[rows], table.shape, is_coalesced=True, check_invariants=False
        )

    def _encode(self, side: Side) -> Tensor:
        ids, mask = torch.from_numpy(side.input_ids), torch.from_numpy(side.attention_mask)
        if isinstance(self.encoder, StaticEncoder):
            return self.encoder(ids, mask)
        lengths = mask.sum(dim=1)
        order = lengths.argsort()
        parts = []
        for rows in order.split(CHUNK):
            longest = int(lengths[rows].max())
            parts.append(self.encoder(ids[rows, :longest], mask[rows, :longest]))
        return torch.cat(parts)[order.argsort()]


def loss_for(batch: Batch, teacher: TeacherVectors, temperature: float, weight: float):
    """Make the loss of the default run for one batch."""
    masked = torch.from_numpy(batch.masked[0]), torch.from_numpy(batch.masked[1])
    taught = teacher.find(batch.pivots)

    def loss_of(vectors: Sequence[Tensor]) -> Tensor:
        contrast = info_nce(vectors[0], vectors[1], temperature, masked=masked)
        return contrast + weight * pooled_distillation(vectors, *taught)

    return loss_of


def demo_figures(encode: Encode) -> dict[str, float]:
    """Ask the demo's questions in other languages than English; first hits on their subject."""
    documents, queries = (
        [json.loads(line) for line in (ROOT / "app/default/demo" / name).open(encoding="utf-8")]
        for name in ("documents.jsonl", "queries.jsonl")
    )
    queries = [query for query in queries if query["lang"] != "eng_Latn"]
    scores = encode([q["text"] for q in queries]) @ encode([d["text"] for d in documents]).T
    english = np.array([d["lang"] == "eng_Latn" for d in documents])

    def right(table: np.ndarray) -> int:
        firsts = table.argmax(axis=1)
        return sum(
            documents[first]["doc_id"] in query["relevant"]
            for query, first in zip(queries, firsts, strict=True)
        )

    within_english = np.where(english, scores, -np.inf)
    return {
        "questions": len(queries),
        "first in any language": right(scores),
        "first among English": right(within_english),
    }


def quantized(encoder: Encoder) -> bytes:
    """Export the encoder in 8 bits."""
    if isinstance(encoder, StaticEncoder):
        model = static_int8_graph(*quantize_rows(encoder.embeddings.weight.detach().numpy()))
    else:
        graphs = quantize_transformer(transformer_graphs(encoder.eval(), white_box=False))
        model: onnx.ModelProto = move_inside(graphs.graph, graphs.tensors)
    return model.SerializeToString()


def session_encode(graph: bytes, tokenizer: Tokenizer, max_tokens: int, threads: int) -> Encode:
    """Run a graph, 32 texts of about one length at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = [e.ids[:max_tokens] or [0] for e in tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        vectors: list[np.ndarray] = [np.zeros(0)] * len(rows)
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            ids = np.zeros((len(chosen), len(rows[chosen[-1]])), np.int64)
            mask = np.zeros_like(ids)
            for place, row in enumerate(chosen):
                ids[place, : len(rows[row])] = rows[row]
                mask[place, : len(rows[row])] = 1
            block = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            for row, vector in zip(chosen, np.asarray(block), strict=True):
                vectors[row] = vector
        return np.stack(vectors)

    return encode


def speeds(encodes: dict[str, Encode], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Take the median of texts a second, tokenizing included, the encoders by turns."""
    found: dict[str, list[float]] = {name: [] for name in encodes}
    for _ in range(rounds):
        for name, encode in encodes.items():
            began = time.perf_counter()
            encode(texts)
            found[name].append(len(texts) / (time.perf_counter() - began))
    return {name: round(statistics.median(rates)) for name, rates in found.items()}


def main() -> None:
    """Train both side by side, then measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of a static encoder")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--table-rate", type=float, default=0.003)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--evaluate-every", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()

    overrides = [f"batches.pairs={chosen.pairs}"]
    config = load_config(ROOT / "training/configs/default.toml", overrides)
    before = load_checkpoint(chosen.start)
    tokenizer = Tokenizer.from_str(before.tokenizer)
    corpora = select_corpora(list(config.corpora.weights), shippable=True)
    bitext = load_bitext(data_folder(), corpora)
    tokens = tokenize_texts(tokenizer, iterate_texts(bitext.texts), before.config.pad_id)
    batches = HybridBatches(
        bitext,
        tokens,
        config.corpora,
        config.batches,
        max_tokens=before.config.max_tokens,
        seed=1,  # other batches than those of the run that is gone on from
    )
    teacher = teach(bitext, batches, config.distillation.teacher_texts)

    static = StaticEncoder(before.config)
    static.load_state_dict(dict(before.weights))
    table = before.weights["embeddings.weight"].float()
    network = ResidualTransformer(before.config, table, chosen.width, chosen.layers)
    contenders = {
        "static": Contender(static, chosen.table_rate, chosen.rate),
        "transformer": Contender(network, chosen.table_rate, chosen.rate),
    }
    curve = []
    for step in range(chosen.steps + 1):
        if step % chosen.evaluate_every == 0 or step == chosen.steps:
            point: dict[str, float] = {"step": step}
            for name, contender in contenders.items():
                encode = as_encode(contender.encoder, tokenizer)
                accuracy = flores_accuracy(encode, data_folder(), LOW_RESOURCE)
                point[name] = round(mean_of(accuracy), 4)
                point[f"{name} seconds"] = round(contender.seconds)
            curve.append(point)
            print(json.dumps(point), flush=True)
        if step == chosen.steps:
            break
        batch = batches.batch(step)
        loss_of = loss_for(batch, teacher, config.loss.temperature, config.distillation.pooled)
        warm = min(1.0, (step + 1) / 30)
        scale = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / chosen.steps)))
        losses = {name: c.step(batch, loss_of, scale) for name, c in contenders.items()}
        if step % 10 == 0:
            print(step, losses, {n: round(c.seconds) for n, c in contenders.items()}, flush=True)

    report: dict = {"arguments": {k: str(v) for k, v in vars(chosen).items()}, "curve": curve}
    commit = ["git", "rev-parse", "--short", "HEAD"]
    report["commit"] = subprocess.check_output(commit, cwd=ROOT, text=True).strip()
    graphs = {name: quantized(contender.encoder) for name, contender in contenders.items()}
    encodes: dict[int, dict[str, Encode]] = {
        threads: {
            name: session_encode(graph, tokenizer, before.config.max_tokens, threads)
            for name, graph in graphs.items()
        }
        for threads in (1, 2)
    }
    for name, encode in encodes[2].items():

        def normalized(texts: Sequence[str], encode: Encode = encode) -> np.ndarray:
            return encode([normalize(text) for text in texts])

        flores = flores_accuracy(normalized, data_folder())
        report[name] = {
            "bytes with tokenizer": len(graphs[name]) + len(before.tokenizer.encode()),
            "training seconds": round(contenders[name].seconds),
            "flores200-dev, 40": round(mean_of(flores, LOW_RESOURCE), 4),
            "flores200-dev, 204": round(mean_of(flores), 4),
            "tatoeba, 112": round(mean_of(tatoeba_accuracy(normalized, data_folder())), 4),
            "demo": demo_figures(normalized),
            "flores200-dev": flores,
        }
    table_of_texts = pq.read_table(data_folder() / "eval" / "flores200-dev.parquet")
    langs = LOW_RESOURCE[:10]
    sentences = [text for lang in langs for text in table_of_texts[lang].to_pylist()[:200]]
    report["texts/s"] = {
        f"{threads} threads": speeds(encodes[threads], sentences, rounds=5) for threads in (1, 2)
    }
    chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if k != "curve"}, indent=1)[:3000])


if __name__ == "__main__":
    main()
