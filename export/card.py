"""The model card: what an artifact is, what it was made from and how well it does, in Markdown."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from app.artifact import Precision
from export.bundle import versions
from export.sources import Checkpoint

_KINDS = {
    "static": "one vector for each token, averaged; blind to word order",
    "transformer": "a transformer with pooled token states",
}


def write_card(
    name: str,
    checkpoint: Checkpoint,
    licence: str,
    verification: Mapping[str, Any],
    accuracies: Mapping[str, Mapping[str, float]],
    notes: str = "",
) -> str:
    """Write the card.

    Args:
        name: Of the encoder.
        checkpoint: What it was made of.
        licence: Of the weights.
        verification: As ``verify_artifact`` records it.
        accuracies: By precision and language, in [0, 1]; may be empty.
        notes: Markdown to end with, of what is known beyond this.
    """
    config = checkpoint.config
    parts = [
        f"# {name}\n",
        f"A text encoder for search across languages: {_KINDS[config.kind]}.\n",
        _table(
            ("property", "value"),
            [
                ("dimensions", config.dim),
                ("vocabulary", config.vocab_size),
                ("most tokens of a text", config.max_tokens),
                ("pooling", f"{config.pooling}, then unit length"),
                ("licence", licence),
                *_run_rows(checkpoint.run),
                ("exported", datetime.datetime.now(datetime.UTC).date().isoformat()),
                ("exported with", ", ".join(f"{k} {v}" for k, v in versions().items())),
            ],
        ),
        "## Made from\n",
        _table(("corpus", "licence"), [(one.name, one.licence) for one in checkpoint.corpora]),
        f"Languages trained on ({len(checkpoint.languages)}): "
        f"{', '.join(checkpoint.languages) or 'not recorded'}.\n",
        "## Verification\n",
        *_verification_parts(verification),
        _table(("precision", "figure", "worst", "tolerance"), _figure_rows(verification)),
        "## Accuracy\n",
        *_accuracy_parts(accuracies, verification),
        "## Limits\n",
        "A similarity says that two texts are about the same, not that either is true. Languages "
        "with a low figure above, or with none, should be measured on your own texts before they "
        "are relied on.\n",
        *([notes.strip() + "\n"] if notes.strip() else []),
    ]
    return "\n".join(parts)


def _run_rows(run: Mapping[str, Any]) -> list[tuple[str, Any]]:
    names = ("steps", "seconds", "parameters", "machine")
    found = [(name, run[name]) for name in names if run.get(name) not in (None, "")]
    return [
        (
            name,
            "; ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value,
        )
        for name, value in found
    ]


def _figure_rows(verification: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (precision, name.replace("_", " "), f"{figure['worst']:.2e}", f"{figure['tolerance']:.0e}")
        for precision, figures in verification.get("figures", {}).items()
        for name, figure in figures.items()
    ]


def _verification_parts(verification: Mapping[str, Any]) -> list[str]:
    scripts = ", ".join(f"{name} {count}" for name, count in verification["scripts"].items())
    return [
        f"Against the checkpoint, on {verification['texts']}.\n",
        f"Texts by script: {scripts}.\n",
    ]


def _accuracy_parts(
    accuracies: Mapping[str, Mapping[str, float]], verification: Mapping[str, Any]
) -> list[str]:
    if not accuracies:
        return ["Not measured: the texts of this export name no languages.\n"]
    precisions: list[Precision] = [
        one for one in ("fp32", "fp16", "int8", "int4") if one in accuracies
    ]
    languages = sorted(accuracies[precisions[0]])
    rows = [
        (lang, *(f"{100 * accuracies[one][lang]:.1f}" for one in precisions)) for lang in languages
    ]
    means = [sum(accuracies[one].values()) / len(languages) for one in precisions]
    rows.insert(0, ("**mean**", *(f"**{100 * mean:.1f}**" for mean in means)))
    asked = verification["figures"][precisions[0]]["accuracy_loss_points"]["sentences"]
    return [
        "Share of FLORES-200 development sentences whose nearest English sentence, among 997, is "
        f"their translation, in percent: the first {asked} sentences of {len(languages)} "
        "languages.\n",
        _table(("language", *precisions), rows),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
