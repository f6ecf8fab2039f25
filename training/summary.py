"""What a run leaves for people: ``summary.md`` and the picture of its loss."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.logs import LOG, read_log
from training.progress import Progress

SUMMARY, CURVE = "summary.md", "loss.svg"


def write_summary(folder: Path, run: Mapping[str, Any], progress: Progress, ending: str) -> None:
    """Write what was trained, on what, for how long and how it went.

    Args:
        folder: Of the checkpoint; the curve is drawn from its log.
        run: Content of ``run.json``.
        progress: Where the run ended.
        ending: Why training ended, in a sentence.

    Raises:
        OSError: If the files cannot be written.
    """
    lines = read_log(folder / LOG) if (folder / LOG).exists() else []
    points = [(line["step"], line["loss"]) for line in lines if _finite(line.get("loss"))]
    if points:
        draw_curve(folder / CURVE, points, progress.best_step)
    (folder / SUMMARY).write_text(
        describe_run(run, progress, ending, curve=bool(points)), encoding="utf-8"
    )


def describe_run(run: Mapping[str, Any], progress: Progress, ending: str, *, curve: bool) -> str:
    """Write the summary as Markdown."""
    config, machine = run["config"], run["machine"]
    encoder, batches, optim = config["encoder"], config["batches"], config["optim"]
    seconds = float(run["seconds"])
    texts = 2 * run["steps"] * batches["pairs"]
    rows = {
        "encoder": f"{encoder['kind']}, {encoder['dim']} dimensions, "
        f"{run['parameters']:,} parameters, up to {encoder['max_tokens']} tokens",
        "corpora": ", ".join(f"{c['name']} ({c['licence']})" for c in run["corpora"]),
        "languages": f"{len(run['languages'])}: {_some(run['languages'])}",
        "steps": f"{run['steps']:,} of {optim['steps']:,}, {batches['pairs']:,} pairs each",
        "time": f"{format_seconds(seconds)}, {texts / max(seconds, 1e-9):,.0f} texts/s",
        "learning rate": f"{optim['lr']:g}, {optim['schedule']}, {optim['warmup']} warm-up steps",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
        "seed": str(config["run"]["seed"]),
    }
    if progress.best is not None:
        rows["best"] = (
            f"{config['run']['metric']} {progress.best:.4f} at step {progress.best_step} "
            "(folder `best`)"
        )
    parts = [f"# {config['run']['name']}", "", ending, "", "| | |", "|---|---|"]
    parts += [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    if curve:
        parts += ["", f"![Loss by step]({CURVE})"]
    if figures := run.get("metrics"):
        parts += ["", "| figure | value |", "|---|---|"]
        parts += [f"| {_cell(name)} | {_cell(_figure(value))} |" for name, value in figures.items()]
    return "\n".join(parts) + "\n"


def draw_curve(path: Path, points: Sequence[tuple[int, float]], best_step: int) -> None:
    """Draw loss by step as SVG; a dotted line marks the best evaluation, if any."""
    from matplotlib import rc_context  # takes a second to import
    from matplotlib.figure import Figure

    # Text as text, and names that do not change from one drawing to the next.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "loss", "path.simplify": True}):
        figure = Figure(figsize=(7, 3.5), layout="tight")
        axes = figure.subplots()
        axes.plot([step for step, _ in points], [loss for _, loss in points], linewidth=1.2)
        axes.set_xlabel("step")
        axes.set_ylabel("loss, smoothed")
        axes.grid(visible=True, alpha=0.3)
        if best_step:
            axes.axvline(best_step, linestyle=":", color="gray", label=f"best: step {best_step}")
            axes.legend()
        figure.savefig(path, format="svg", metadata={"Date": None})


def format_seconds(seconds: float) -> str:
    """Write a duration as people do: ``48 s``, ``12 min 5 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _some(names: Sequence[str], count: int = 12) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
