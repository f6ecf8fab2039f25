"""The curve of the retrieval benchmark: search times over the sizes.

    python tests/benchmarks/retrieval_figure.py figures.jsonl curve.svg

draws what the benchmark's ``--out`` wrote; of lines of one size the last counts.
"""

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(lines: Sequence[dict[str, Any]], target: Path) -> None:
    """Draw the search times over the sizes."""
    sizes = [line["documents"] for line in lines]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, label in (("search_ms", "search"), ("bare_engine_ms", "bare engine")):
        for name, style in (("p50", "o-"), ("p95", "s--")):
            axes.plot(sizes, [line[key][name] for line in lines], style, label=f"{label}, {name}")
    first = lines[0]["search_ms"]["p50"]
    doubled = [first * 2 ** np.log10(size / sizes[0]) for size in sizes]
    axes.plot(sizes, doubled, ":", color="gray", label="doubled per tenfold")
    axes.set(xscale="log", xlabel="documents", ylabel="milliseconds a query", ylim=(0, None))
    axes.set_title("10 nearest of 384 dimensions, one client")
    axes.legend()
    # The same figures give the same file
    with plt.rc_context({"svg.hashsalt": "tyntegra", "svg.fonttype": "none"}):
        figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def growth(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Say how the median time of a search grows from each size to the next, per tenfold."""
    found: list[str] = []
    for one, more in pairwise(lines):
        tenfolds = np.log10(more["documents"] / one["documents"])
        factor = (more["search_ms"]["p50"] / one["search_ms"]["p50"]) ** (1 / tenfolds)
        found.append(f"{one['documents']:,} to {more['documents']:,}: {factor:.2f} per tenfold")
    return found


def main() -> None:
    """Read figures and draw them."""
    source, target = map(Path, sys.argv[1:])
    rows = map(json.loads, source.read_text(encoding="utf-8").splitlines())
    latest = {row["documents"]: row for row in rows if "search_ms" in row}
    lines = [latest[size] for size in sorted(latest)]
    draw(lines, target)
    print("\n".join(growth(lines)))


if __name__ == "__main__":
    main()
