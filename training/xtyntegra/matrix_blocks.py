"""The tables of the matrix's report, each as Markdown, by the name that the report asks for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from training.xtyntegra.matrix_tables import differences, interval, number, table, white_of

Summary = Mapping[str, Any]
SHARES = ("mono", "quarter", "hybrid", "most", "cross")
"""Batchings by their share of cross-lingual batches."""
METHODS = ("plain", "fgm", "smoothing", "switch", "typos", "combined", "pooled", "transport")
GROUPS = ("seen", "related", "unseen")
_TITLES = {"success": "attack success", "pooled:distance": "rank distance"}
_FLOOR = 0.05
"""Accuracy below which cells can hardly differ."""
_DIFFERENCES = ("clean", "attacked", "success")


def state(summary: Summary, arm: str) -> str:
    """Say which runs are done, when and where; ``arm`` is not asked."""
    done = {name: _runs(found) for name, found in summary["arms"].items()}
    made, left = sum(done.values()), summary["not_done"]
    arms = ", ".join(f"{count} with the {name} encoder" for name, count in done.items())
    told = f"{made} of {made + len(left)} runs are done: {arms}."
    if left:
        seeds: dict[str, list[str]] = {}
        for run in left:
            cell, _, seed = run.rpartition("-s")
            seeds.setdefault(cell, []).append(seed)
        missing = (f"{cell} ({', '.join(each)})" for cell, each in seeds.items())
        told = f"**{told}** Missing, with their seeds: {', '.join(missing)}."
    return f"{told}\nSummed up {summary['made'][:16].replace('T', ' ')} UTC, {summary['commit']}."


def means(summary: Summary, arm: str) -> str:
    """Every cell's figures over all languages."""
    found = summary["arms"][arm]
    names = _measures(found)
    rows = [["batches, method", "seeds", *map(_title, names)]]
    for cell in _ordered(found["cells"]):
        told = found["cells"][cell]
        figures = [interval(name, told["figures"]["all"].get(name)) for name in names]
        rows.append([_spoken(cell), str(len(told["seeds"])), *figures])
    return table(rows)


def groups(summary: Summary, arm: str) -> str:
    """Plain training by group of languages and share of cross-lingual batches."""
    found = summary["arms"][arm]
    names = _measures(found)
    rows = [["group", "batches", "seeds", *map(_title, names)]]
    for group in GROUPS:
        for share in SHARES:
            if told := found["cells"].get(f"{share}-plain"):
                figures = [interval(name, told["figures"][group].get(name)) for name in names]
                rows.append([group, share, str(len(told["seeds"])), *figures])
    return table(rows)


def contrasts(summary: Summary, arm: str) -> str:
    """Differences that answer the question, over all languages."""
    found = summary["arms"][arm]
    pairs = [("cross-plain", f"{share}-plain") for share in SHARES]
    pairs.append(("mono-plain", "hybrid-plain"))
    for batching in ("mono", "cross", "hybrid"):
        pairs += [(f"{batching}-plain", f"{batching}-{method}") for method in METHODS]
    pairs += [(f"cross-{method}", f"hybrid-{method}") for method in METHODS[1:]]
    names = _contrasted(found)
    rows = [["second less first", "seeds", *map(_title, names)]]
    for contrast in _listed(found, pairs):
        label = f"{_spoken(contrast['second'])} less {_spoken(contrast['first'])}"
        cells = differences(contrast, "all", names)
        rows.append([label, str(len(contrast["seeds"])), *cells])
    return table(rows)


def batches(summary: Summary, arm: str) -> str:
    """Differences between ways to make batches, trained plain, by group of languages."""
    found = summary["arms"][arm]
    pairs = [("cross", "mono"), ("cross", "hybrid"), ("mono", "hybrid")]
    listed = _listed(found, [(f"{one}-plain", f"{other}-plain") for one, other in pairs])
    names = _contrasted(found)
    rows = [["group", "second less first", "seeds", *map(_title, names)]]
    for group in GROUPS:
        for contrast in listed:
            first, second = (contrast[side].partition("-")[0] for side in ("first", "second"))
            cells = differences(contrast, group, names)
            rows.append([group, f"{second} less {first}", str(len(contrast["seeds"])), *cells])
    return table(rows)


def attacks(summary: Summary, arm: str) -> str:
    """Accuracy of every cell under each attack, over all languages."""
    found = summary["arms"][arm]
    figures = next(iter(found["cells"].values()))["figures"]["all"]
    names = [name for name in figures if name.startswith("attack:")]
    heads = [name[7:].replace("_", " ").replace("@", ", ") for name in names]
    rows = [["batches, method", "seeds", "before", *heads]]
    for cell in _ordered(found["cells"]):
        told = found["cells"][cell]
        values = [number(name, told["figures"]["all"][name][0]) for name in ("before", *names)]
        rows.append([_spoken(cell), str(len(told["seeds"])), *values])
    return table(rows)


def cost(summary: Summary, arm: str) -> str:
    """Processor seconds of training, mean over seeds."""
    spent: dict[str, list[float]] = {}
    for run in summary["arms"][arm]["runs"]:
        _, batching, method, _ = run["name"].split("-")
        spent.setdefault(f"{batching}-{method}", []).append(run["train_cpu_seconds"])
    batchings = [name for name in SHARES if any(cell.startswith(name) for cell in spent)]
    rows = [["method", *batchings]]
    for method in METHODS:
        told = [spent.get(f"{batching}-{method}") for batching in batchings]
        if any(told):
            rows.append([method, *(f"{np.mean(one):.0f}" if one else "" for one in told)])
    return table(rows)


BLOCKS: dict[str, Callable[[Summary, str], str]] = {
    "state": state,
    "means": means,
    "groups": groups,
    "contrasts": contrasts,
    "batches": batches,
    "attacks": attacks,
    "cost": cost,
}
"""Name of a table -> what writes it, from the summary and the arm."""


def _runs(found: Mapping[str, Any]) -> int:
    return sum(len(told["seeds"]) for told in found["cells"].values())


def _ordered(cells: Mapping[str, Any]) -> list[str]:
    """Sort cells by batches, then by method, as the grid lists them."""

    def place(cell: str) -> tuple[int, int]:
        batching, _, method = cell.partition("-")
        return SHARES.index(batching), METHODS.index(method)

    return sorted(cells, key=place)


def _measures(found: Mapping[str, Any]) -> list[str]:
    middle = _middle(found)
    return [
        "clean", "before", "attacked", "success", "white:0", middle, "between", "pooled:distance",
    ]  # fmt: skip


def _contrasted(found: Mapping[str, Any]) -> list[str]:
    return [*_DIFFERENCES, _middle(found), "between", "pooled:distance"]


def _middle(found: Mapping[str, Any]) -> str:
    """Name the white box of the middle epsilon, of those that leave something to compare."""
    names = white_of(found)[1:]
    left = {
        name: np.mean([told["figures"]["all"][name][0] for told in found["cells"].values()])
        for name in names
    }
    told = [name for name in names if left[name] >= _FLOOR] or names[:1]
    return told[len(told) // 2]


def _title(name: str) -> str:
    if name == "white:0":
        return "before white box"
    if name.startswith("white:"):
        return f"white box {name[6:].replace('0.', '.', 1)}"
    return _TITLES.get(name, name)


def _spoken(cell: str) -> str:
    return cell.replace("-", ", ")


def _listed(found: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> list[Mapping[str, Any]]:
    by_pair = {(one["first"], one["second"]): one for one in found["contrasts"]}
    return [by_pair[pair] for pair in dict.fromkeys(pairs) if pair in by_pair]
