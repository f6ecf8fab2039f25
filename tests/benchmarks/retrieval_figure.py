"""The curve of the retrieval benchmark: search times over the sizes."""

from collections.abc import Sequence
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
    figure.savefig(target)
