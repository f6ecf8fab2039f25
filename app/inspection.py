"""What an artifact is, for people and for programs: read from its files, once they are checked."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.artifact import Graph, Manifest, read_artifact
from app.encoder.outline import read_outline

ROLES = ("graph", "weights", "lookup", "encode", "gradient")


def inspect_artifact(folder: Path) -> dict[str, Any]:
    """Describe an artifact; every file is checked first, by size and hash.

    Args:
        folder: The artifact.

    Returns:
        Plain JSON: identity, shape, files of each precision, verification, origin, versions.

    Raises:
        ArtifactError: If the folder is not exactly what its manifest says.
    """
    manifest, graphs = read_artifact(folder, _graphs)
    sizes = {file.path: file.bytes for file in manifest.files}
    kept = manifest.model_dump(mode="json", exclude={"files", "precisions", "metrics"})
    return {
        **kept,
        "bytes": sum(sizes.values()),
        "files": len(sizes),
        "precisions": {
            precision: _describe(graph, sizes, graphs)
            for precision, graph in manifest.precisions.items()
        },
        "accuracy": _means(manifest.metrics),
    }


def summarize(found: Mapping[str, Any]) -> str:
    """Write what ``inspect_artifact`` gives as lines for people."""
    prompts = {name: prompt for name, prompt in found["prompts"].items() if prompt}
    cuts = ", ".join(map(str, found["matryoshka"]))
    lines = [
        f"{found['model_id']}, made {found['created']}, {_size(found['bytes'])} in "
        f"{found['files']} files",
        f"dimensions    {found['dim']}; " + (f"may be cut to {cuts}" if cuts else "not to be cut"),
        f"vocabulary    {found['vocab_size']} tokens; a text has at most {found['max_tokens']}",
        f"pooling       {found['pooling']}, then unit length",
        f"prompts       {prompts or 'none'}",
        f"languages     {len(found['languages'])}",
        f"licence       {found['licence']}",
        f"sources       {', '.join(one['name'] for one in found['sources']) or 'not recorded'}",
        "versions      " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()),
    ]
    for precision, graph in found["precisions"].items():
        default = " (default)" if precision == found["default_precision"] else ""
        box = "with a white box" if graph["white_box"] else "no white box"
        opset = ", ".join(f"{name} {version}" for name, version in graph["opsets"].items())
        lines.append(f"{precision:<13} {_size(graph['bytes'])}{default}, {box}, opset {opset}")
        lines += [f"    {one['path']:<26} {_size(one['bytes'])}" for one in graph["files"].values()]
    lines += [
        f"accuracy      {name}, {precision}: {100 * mean:.1f} %"
        for name, means in found["accuracy"].items()
        for precision, mean in means.items()
    ]
    return "\n".join([*lines, *_verification(found["verification"])])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows of cells below a head."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _verification(record: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (precision, name.replace("_", " "), f"{figure['worst']:.1e}", f"{figure['tolerance']:.0e}")
        for precision, figures in _mapping(record.get("figures")).items()
        for name, figure in _mapping(figures).items()
        if {"worst", "tolerance"} <= set(_mapping(figure))
    ]
    if not rows:
        yield "verification  not recorded"
        return
    yield f"verification  on {record.get('texts', 'texts not named')}"
    if scripts := _mapping(record.get("scripts")):
        yield f"    {len(scripts)} scripts: {', '.join(scripts)}"
    yield from ("    " + line for line in table(("precision", "figure", "worst", "allowed"), rows))


def _graphs(manifest: Manifest) -> list[str]:
    return [
        name for graph in manifest.precisions.values() for name in (graph.graph, *graph.white_box)
    ]


def _describe(
    graph: Graph, sizes: Mapping[str, int], contents: Mapping[str, bytes]
) -> dict[str, Any]:
    named = {role: getattr(graph, role) for role in ROLES if getattr(graph, role)}
    opsets: dict[str, int] = {}
    for name in (graph.graph, *graph.white_box):
        opsets |= read_outline(contents[name]).opsets
    return {
        "files": {role: {"path": name, "bytes": sizes[name]} for role, name in named.items()},
        "bytes": sum(sizes[name] for name in named.values()),
        "opsets": opsets,
        "white_box": bool(graph.white_box),
    }


def _means(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Pick the means of accuracies by precision; the metrics of an artifact are free in form."""
    found: dict[str, dict[str, float]] = {}
    for name, by_precision in metrics.items():
        means = {
            precision: one["mean"]
            for precision, one in _mapping(by_precision).items()
            if isinstance(_mapping(one).get("mean"), float)
        }
        if means:
            found[name] = means
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
