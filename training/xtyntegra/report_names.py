"""How tasks, settings, tracks, metrics and shares are written for readers."""

from collections.abc import Iterable
from html import escape

from app.robustness.markup import plain, show
from training.xtyntegra.tracks import languages

Group = tuple[str, str]
"""A task and a setting of it."""

ENGLISH = "eng_Latn"
ALL = "all"
CLEAN = "clean"
TRACKS = ("seen", "related", "unseen", "other")
TRACK_NAMES = {
    ALL: "all languages",
    "seen": "seen in training",
    "related": "relative or script seen",
    "unseen": "wholly unseen",
    "other": "not low-resource",
}
"""The first three are of the low-resource track."""
METRICS = ("accuracy@1", "recall@10", "mrr", "ndcg@10", "map")
METRIC_NAMES = {
    "accuracy@1": "accuracy@1",
    "recall@10": "recall@10",
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "map": "mAP",
}
TASK_NAMES = {
    "flores200": "FLORES-200",
    "ntrex128": "NTREX-128",
    "tatoeba": "Tatoeba",
    "xquad-r": "XQuAD-R",
    "own": "Your own texts",
}
SETTING_NAMES = {
    "to-english": "into English",
    "from-english": "from English",
    "between": "between low-resource languages",
    "pooled": "all languages in one pool",
    "mono": "within a language",
    "cross": "across languages",
}


def language_of(query_lang: str, document_lang: str) -> str:
    """Name a cell by the language that it is about: the one that is not English, or both."""
    if document_lang in ("*", "", ENGLISH, query_lang):
        return query_lang
    return document_lang if query_lang == ENGLISH else f"{query_lang}>{document_lang}"


def group_name(group: Group) -> str:
    """Name a task and its setting for readers; text, not HTML."""
    task, setting = group
    return f"{TASK_NAMES.get(task, task)}, {SETTING_NAMES.get(setting, setting)}"


def main_metric(group: Group) -> str:
    """Name the metric that a task is usually quoted by."""
    return "map" if group[0] == "xquad-r" else "accuracy@1"


def spoken(lang: str | None) -> str:
    """Write a language's code with its name, where that is known, as HTML."""
    row = languages().get(lang or "")
    name = f' <small class="muted">{escape(plain(row.name, 24))}</small>' if row else ""
    return f"{show(lang)}{name}"


def mean(values: Iterable[float | None]) -> float | None:
    """Average those that are there; None without any."""
    known = [one for one in values if one is not None]
    return sum(known) / len(known) if known else None


def tenth(value: float | None) -> str:
    """Write a share as a number of percent with one decimal."""
    return "\N{EN DASH}" if value is None else f"{100 * value:.1f}"


def bounds(low: float | None, high: float | None) -> str:
    """Write an interval of a share, in percent with one decimal."""
    return "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
