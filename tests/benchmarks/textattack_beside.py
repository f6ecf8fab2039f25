"""The probe beside TextAttack: same model, corpus, queries, transformations and edit limit.

    python tests/benchmarks/textattack_beside.py --peer ta/bin/python --model minilm \\
        --artifact artifacts/minilm

``--peer`` is the interpreter of an environment of its own with TextAttack and
sentence-transformers; ``--model`` a folder that the latter opens, ``--artifact`` its export with
fp32 and int8. Bodies of docstrings, 4,000 or as many as the standard library has, are the corpus,
and summary lines of 50 of them the queries, each with its own body first; an attack succeeds once
that is out of the top 10. Letters
are substituted, deleted or inserted at any place of a word, one random letter a place, and a text
may differ by 2 edits (Levenshtein). Both stop at the first success. TextAttack searches greedily
by word importance (unk), ours is ``auto``. CPU seconds of one thread count, on both sides those of
the whole process from the first query to the last result, models loaded and warm; runs alternate.
Texts are all that are encoded: the clean query and words left out (theirs), the last check (ours).

TextAttack 0.3.11 beside torch 2.13: install it with --no-deps, then what it misses, stubs of flair,
NLTK_DATA with a file corpora/stopwords/english, and TA_CACHE_DIR with an empty file
post_install_check_3, all of which this script expects in place.
"""

# pyright: reportMissingImports=false

import argparse
import ast
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOP_K, EDITS = 10, 2
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


def docstrings() -> Iterator[tuple[str, str]]:
    """Summary and body of docstrings of the standard library, in one order."""
    seen: set[str] = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                continue
            summary, _, body = (ast.get_docstring(node) or "").partition("\n\n")
            summary, body = " ".join(summary.split()), " ".join(body.split())[:200]
            if 20 <= len(summary) <= 80 and len(body) >= 60 and summary not in seen:
                seen.add(summary)
                yield summary, body


def wilson(successes: int, n: int) -> list[float]:
    """Wilson's 95% interval."""
    z, share = 1.959964, successes / n
    middle = share + z * z / (2 * n)
    half = z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return [round((middle + sign * half) / (1 + z * z / n), 3) for sign in (-1, 1)]


def row(who: str, budget: int, wins: int, texts: int, n: int, cpu: float) -> dict[str, Any]:
    """One line of the table."""
    return {
        "who": who,
        "budget": budget,
        "success": round(wins / n, 3),
        "wilson": wilson(wins, n),
        "texts_per_example": round(texts / n, 1),
        "texts_per_cpu_s": round(texts / cpu),
        "examples_per_cpu_min": round(60 * n / cpu),
        "broken_per_cpu_min": round(60 * wins / cpu),
        "cpu_s": round(cpu, 2),
    }


def peer(folder: Path, model: str) -> None:
    """TextAttack's side: reads a budget a line, answers a row a line."""
    import torch
    from sentence_transformers import SentenceTransformer
    from textattack import Attack
    from textattack.constraints.overlap import LevenshteinEditDistance
    from textattack.constraints.pre_transformation import RepeatModification
    from textattack.goal_function_results import ClassificationGoalFunctionResult
    from textattack.goal_functions import GoalFunction
    from textattack.models.wrappers import ModelWrapper
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import (
        CompositeTransformation,
        WordSwapRandomCharacterDeletion,
        WordSwapRandomCharacterInsertion,
        WordSwapRandomCharacterSubstitution,
    )

    torch.set_num_threads(1)
    documents = np.load(folder / "documents.npy")
    asked = json.loads((folder / "queries.json").read_text())

    class Encoder(ModelWrapper):
        def __init__(self) -> None:
            self.model = SentenceTransformer(model, device="cpu")

        def __call__(self, texts: list[str]) -> Any:
            return self.model.encode(texts, convert_to_numpy=True, normalize_embeddings=True)

    class OutOfTop(GoalFunction):
        def _gap(self, vector: Any) -> float:
            scores = documents @ np.asarray(vector)
            own = scores[self.ground_truth_output]
            rivals = np.delete(scores, self.ground_truth_output)
            return float(own - np.partition(rivals, -TOP_K)[-TOP_K])

        def _is_goal_complete(self, vector: Any, _: Any) -> bool:
            return self._gap(vector) < 0

        def _get_score(self, vector: Any, _: Any) -> float:
            return -self._gap(vector)

        def _goal_function_result_type(self) -> Any:
            return ClassificationGoalFunctionResult

        def _process_model_outputs(self, inputs: Any, outputs: Any) -> Any:
            return outputs

    goal = OutOfTop(Encoder())
    words = (
        WordSwapRandomCharacterSubstitution,
        WordSwapRandomCharacterDeletion,
        WordSwapRandomCharacterInsertion,
    )
    attack = Attack(
        goal,
        [RepeatModification(), LevenshteinEditDistance(EDITS)],
        CompositeTransformation([kind(random_one=False) for kind in words]),
        GreedyWordSwapWIR(wir_method="unk"),
    )
    goal.model(["warm up"])
    print("ready", flush=True)
    for line in sys.stdin:
        goal.query_budget = int(line)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - what TextAttack draws from
        began = time.process_time()
        results = [attack.attack(text, gold) for text, gold in asked]
        cpu = time.process_time() - began
        wins = sum(type(one).__name__ == "SuccessfulAttackResult" for one in results)
        texts = sum(one.num_queries for one in results)
        print(json.dumps(row("textattack", int(line), wins, texts, len(asked), cpu)), flush=True)


def letters_family() -> Any:
    """The same transformations as a family: one random letter a place and kind."""
    from app.text.perturbations.edits import Edit
    from app.text.perturbations.family import ANY_SCRIPT, Family

    def propose(passage: Any, draw: Any, _: Any) -> Iterator[Edit]:
        places = [cluster for word in passage.words for cluster in word]
        numbers = draw.numbers("letters", 2 * len(places)).tolist()
        for number, one in enumerate(places):
            other, added = (LETTERS[n % len(LETTERS)] for n in numbers[2 * number :][:2])
            if other != one.text:
                yield Edit(one.start, one.end, one.text, other)
            yield Edit(one.start, one.end, one.text, "")
            yield Edit(one.start, one.start, "", added)

    return Family("letters", "Letters substituted, deleted, inserted.", ANY_SCRIPT, propose)


def ours(who: str, encoder: Any, store: Any, asked: list[tuple[str, int]], budget: int) -> dict:
    """Our side: a probe of all examples, whose clean query counts as TextAttack's does."""
    from app.robustness.probe import Budget, ProbeQuery, ProbeRequest, run_probe
    from app.robustness.request import SearchChoice

    request = ProbeRequest(
        "docs",
        tuple(
            ProbeQuery(f"q{n}", text, None, (f"d{gold}",)) for n, (text, gold) in enumerate(asked)
        ),
        ("letters",),
        Budget(EDITS, budget - 1, 3600.0),
        TOP_K,
        search=SearchChoice(after_success=False),
    )
    began = time.process_time()
    report = run_probe(request, encoder.encode_query, store)
    cpu = time.process_time() - began
    wins = sum(result.success for result in report.results)
    found = row(who, budget, wins, report.spent.queries, len(asked), cpu)
    inside = report.spent.encode_s + report.spent.search_s
    return found | {
        "outside": round(1 - inside / report.elapsed_s, 3),
        "model_calls": report.spent.model_calls,
    }


def fill(encoder: Any, folder: Path, vectors: Any) -> Any:
    """A collection of the corpus under one encoder."""
    from app.retrieval.documents import Document
    from app.retrieval.edge import EdgeStore

    store = EdgeStore.open(folder)
    store.create("docs", encoder.dim, encoder.model_id)
    store.upsert("docs", [Document(f"d{n}", f"{n}") for n in range(len(vectors))], vectors)
    store.flush("docs")
    return store


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Choose queries that all sides answer, then run the sides by turns."""
    from app.encoder.encoder import TextEncoder
    from app.encoder.hardware import Hardware
    from app.text.perturbations.registry import FAMILIES

    FAMILIES["letters"] = letters_family()
    pairs = list(docstrings())
    random.Random(0).shuffle(pairs)
    pairs = pairs[: options.documents]
    one = Hardware("cpu", threads=1)
    sides = {}
    right = np.ones(len(pairs), dtype=bool)
    for precision in ("fp32", "int8"):
        encoder = TextEncoder.open(options.artifact, device=one, precision=precision)
        bodies = encoder.encode_document([body for _, body in pairs])
        queries = encoder.encode_query([summary for summary, _ in pairs])
        right &= (queries @ bodies.T).argmax(axis=1) == np.arange(len(pairs))
        sides[precision] = (encoder, fill(encoder, folder / precision, bodies))
        if precision == "fp32":
            np.save(folder / "documents.npy", bodies)
    asked = [(pairs[n][0], int(n)) for n in np.flatnonzero(right)[: options.queries]]
    print(
        json.dumps({"documents": len(pairs), "right": int(right.sum()), "queries": len(asked)}),
        flush=True,
    )
    (folder / "queries.json").write_text(json.dumps(asked))
    command = [options.peer, __file__, "--as-peer", str(folder), "--model", options.model]
    quiet = subprocess.DEVNULL if not options.verbose else None
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True
    ) as process:
        assert process.stdin  # for the reader of types
        assert process.stdout
        while process.stdout.readline().strip() != "ready":
            if process.poll() is not None:
                sys.exit("TextAttack did not start; run with --verbose to see why.")
        for budget in options.budgets:
            process.stdin.write(f"{budget}\n")
            process.stdin.flush()
            rows = [json.loads(process.stdout.readline())]
            rows += [
                ours(f"ours {name}", encoder, store, asked, budget)
                for name, (encoder, store) in sides.items()
            ]
            for found in rows:
                found["times"] = round(rows[0]["cpu_s"] / found["cpu_s"], 2)
                print(json.dumps(found), flush=True)
        process.stdin.close()
    print(json.dumps({"load": os.getloadavg()}))
    for encoder, store in sides.values():
        encoder.close()
        store.close()


def main() -> None:
    """Run either side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="python of the environment with TextAttack")
    parser.add_argument("--model", required=True, help="for sentence-transformers")
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 25, 50, 100, 1000])
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--verbose", action="store_true", help="what TextAttack prints")
    options = parser.parse_args()
    if options.as_peer:
        peer(options.as_peer, options.model)
        return
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when libraries load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
