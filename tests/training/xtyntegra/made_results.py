"""Results of the benchmark as they come back from JSON, made by a generator of numbers."""

import math
import zlib
from typing import Any

import numpy as np

from app.text.perturbations.registry import FAMILIES

_CODES = """
ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi
apc_Arab arb_Arab ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn
bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn
bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn
dik_Latn dyu_Latn dzo_Tibt ell_Grek epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn fin_Latn
fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn
hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn
ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor kaz_Cyrl
kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Arab knc_Latn
kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn
lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Arab min_Latn mkd_Cyrl
mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nqo_Nkoo nso_Latn
nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn
por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr
sin_Sinh slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl
ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl
tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng
uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr
yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn"""
LANGS: list[str] = list(map(str, _CODES.split()))
WIDE = LANGS[::18][:11]
METRICS = ("accuracy@1", "recall@10", "mrr", "ndcg@10", "map")
_TRACKS = ("seen", "related", "unseen", "other")


def a_share(value: float, n: int) -> dict[str, Any]:
    half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / max(1, n))
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def metrics_of(accuracy: float, n: int) -> dict[str, Any]:
    lifts = (0.0, 0.5, 0.2, 0.27, 0.22)
    values = [accuracy + lift * (1 - accuracy) for lift in lifts]
    return {name: a_share(value, n) for name, value in zip(METRICS, values, strict=True)}


def track_of(lang: str) -> str:
    place = zlib.crc32(lang.encode("utf-8", "replace")) % 10
    return _TRACKS[0 if place < 3 else 1 if place < 5 else 2 if place < 7 else 3]


def skill_of(lang: str, shift: float = 0.0) -> float:
    base = {"seen": 1.2, "related": 0.1, "unseen": -1.4, "other": 1.8}[track_of(lang)]
    noise = np.random.default_rng(zlib.crc32(lang.encode("utf-8", "replace"))).normal() * 0.8
    return float(1 / (1 + np.exp(-(base + noise + shift))))


def a_cell(task: str, setting: str, pair: tuple[str, str], **changes: Any) -> dict[str, Any]:
    query, document = pair
    lang = document if query == "eng_Latn" else query
    n = 997
    return {
        "cell": f"{task}/{setting}/{query}>{document}",
        "task": task,
        "setting": setting,
        "query_lang": query,
        "document_lang": document,
        "track": track_of(lang),
        "condition": "clean",
        "queries": n,
        "documents": n,
        "metrics": metrics_of(skill_of(lang), n),
        "extras": {},
        "attack": None,
    } | changes


def attacked(cell: dict[str, Any], name: str, success: float, **known: Any) -> dict[str, Any]:
    """The same cell under an attack that breaks a share of what was right."""
    clean = cell["metrics"]["accuracy@1"]["value"]
    right = round(clean * 200)
    drop = a_share(success, right)
    attack = {
        "family": name,
        "not_applicable": 3,
        "right_clean": right,
        "success_rate": a_share(success, right),
        "clean": {metric: one["value"] for metric, one in cell["metrics"].items()},
        "relative_drop": {bound: drop[bound] for bound in ("value", "low", "high")},
    } | known
    budget = f"edits={known['edits']}" if "edits" in known else f"epsilon={known['epsilon']}"
    changes = {"condition": f"{name}/{budget}", "attack": attack, "queries": 200}
    return cell | changes | {"metrics": metrics_of(clean * (1 - success), 200)}


def a_clean(lang: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    known = {"metrics": metrics_of(accuracy, 997), "track": "seen"} | changes
    return a_cell("flores200", "to-english", (lang, "eng_Latn"), **known)


def under(clean: dict[str, Any], **success: float) -> list[dict[str, Any]]:
    return [attacked(clean, name, share, edits=2, draws=1) for name, share in success.items()]


def under_families(
    cell: dict[str, Any], families: list[str], budgets: tuple[int, ...]
) -> list[dict[str, Any]]:
    noise = np.random.default_rng(zlib.crc32(cell["cell"].encode("utf-8", "replace")))
    made = []
    for place, family in enumerate(families):
        hard = (
            -2.2 + 0.19 * place + 0.5 * noise.normal() - 1.5 * (skill_of(cell["query_lang"]) - 0.5)
        )
        for edits in budgets:
            success = float(1 / (1 + np.exp(-(hard + 0.9 * math.log2(edits)))))
            made.append(attacked(cell, family, success, edits=edits, draws=2))
    return made


def inside(cell: dict[str, Any], epsilons: tuple[float, ...]) -> list[dict[str, Any]]:
    skill = skill_of(cell["query_lang"])
    made = []
    for epsilon in epsilons:
        made.append(
            attacked(cell, "white-box", 1 - math.exp(-4 * epsilon / skill), epsilon=epsilon)
        )
        made.append(
            attacked(cell, "white-box-noise", 1 - math.exp(-0.3 * epsilon / skill), epsilon=epsilon)
        )
    return made


def bias_extras(lang: str) -> dict[str, float]:
    skill = skill_of(lang)
    hits = {one: (5.0 if one == lang else 1.0) for one in WIDE}
    shares = {f"hits:{one}": value / sum(hits.values()) for one, value in hits.items()}
    pool = {f"pool:{one}": 1 / len(WIDE) for one in WIDE}
    own = {"own_share": 0.3 + 0.4 * (1 - skill), "own_pool_share": 1 / len(WIDE)}
    english = {"english_share": 0.1 * skill, "english_pool_share": 1 / len(WIDE)}
    rest = {"rank_distance": 200 * (1 - skill), "language_bias": 0.5 * (1 - skill)}
    return own | english | rest | shares | pool


def summed(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum up cells as a run does, with made intervals."""
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        for track in ("all", cell["track"]):
            key = (cell["task"], cell["setting"], cell["condition"], track)
            groups.setdefault(key, []).append(cell)
    made = []
    for (task, setting, condition, track), some in groups.items():
        first = some[0]["attack"]
        attack = None
        if first:
            attack = {name: first[name] for name in ("family", "edits", "epsilon") if name in first}
            for name in ("success_rate", "relative_drop"):
                attack[name] = _macro(some, lambda one, name=name: one["attack"][name], max)
        metrics = {name: _macro(some, lambda one, n=name: one["metrics"][n]) for name in METRICS}
        made.append(
            {
                "task": task,
                "setting": setting,
                "condition": condition,
                "track": track,
                "languages": len(some),
                "metrics": metrics,
                "extras": {},
                "attack": attack,
            }
        )
    return made


def _macro(cells: list[dict[str, Any]], get: Any, choose: Any = min) -> dict[str, Any]:
    value = sum(get(one)["value"] for one in cells) / len(cells)
    worst = choose(cells, key=lambda one: get(one)["value"])
    known = {"macro": value, "low": max(0.0, value - 0.01), "high": min(1.0, value + 0.01)}
    lang = worst["query_lang"] if worst["query_lang"] != "eng_Latn" else worst["document_lang"]
    return known | {"worst": get(worst)["value"], "worst_lang": lang}


def a_result(cells: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    conditions = {cell["condition"]: cell["attack"] for cell in cells if cell["attack"]}
    tasks = {cell["task"]: {"sha256": "ab" * 32, "cells": 4, "queries": 3988} for cell in cells}
    return {
        "benchmark": "xtyntegra",
        "version": 1,
        "created": "2026-11-25T14:03:12Z",
        "encoder": {
            "name": "tyntegra-static@241844feb2ea",
            "kind": "artifact",
            "identity": "sha256:" + "cd" * 32,
            "source": "app/default/encoder",
            "dim": 384,
        },
        "environment": {"python": "3.11.9", "cpus": 2, "commit": "f7d1e98", "seconds": 412.5},
        "protocol": {
            "tasks": tasks,
            "attacks": [
                {
                    "family": one["family"],
                    "edits": one["edits"],
                    "draws": 2,
                    "seed": 0,
                    "known": "same",
                    "sha256": "ef" * 32,
                }
                for one in conditions.values()
                if "edits" in one
            ],
            "epsilons": [0.1, 0.5],
            "languages": [],
            "confidence": 0.95,
            "resamples": 2000,
            "seed": 0,
        },
        "cells": cells,
        "summary": summed(cells),
        "certified": [],
        "not_measured": [],
    } | changes


def certified(langs: list[str], task: str = "flores200") -> list[dict[str, Any]]:
    made = []
    for lang in langs:
        for kind, slope in (("output-margin", 14.0), ("unbroken", 5.0)):
            for radius in (0.0, 0.05, 0.1, 0.2, 0.4):
                share = a_share(skill_of(lang) * math.exp(-slope * radius), 200)
                place = {"task": task, "setting": "to-english", "query_lang": lang}
                unit = {"document_lang": "eng_Latn", "unit": "vector shift (chord)"}
                made.append(place | unit | {"kind": kind, "radius": radius, "share": share})
    return made


class MadeRanks:
    """Ranks of single queries that fit a made result: right, or at a place drawn by chance."""

    def __init__(self, result: dict[str, Any]) -> None:
        self._right: dict[str, dict[str, float]] = {}
        for cell in result["cells"]:
            draws = ["/draw=0", "/draw=1"] if "edits=" in cell["condition"] else [""]
            share = cell["metrics"]["accuracy@1"]["value"]
            for draw in draws:
                self._right.setdefault(cell["cell"], {})[cell["condition"] + draw] = share

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        return {cell: tuple(names) for cell, names in self._right.items()}

    def ids(self, cell: str, condition: str = "clean") -> Any:
        return np.array([f"q{n}" for n in range(200)])

    def ranks(self, cell: str, condition: str = "clean") -> Any:
        drawn = np.random.default_rng(zlib.crc32(f"{cell}{condition}".encode("utf-8", "replace")))
        deep = np.ceil(drawn.pareto(0.5, 200) + 1).clip(2, 997)
        return np.where(drawn.random(200) < self._right[cell][condition], 1, deep).astype(np.int32)


def ranks_of(result: dict[str, Any]) -> Any:
    """Stand in for the figures of single queries that a run reads back."""
    return MadeRanks(result)


def a_wide_result(langs: int = 204, families: int = 20) -> dict[str, Any]:
    """A run of realistic size: all languages, all families, white box, certificates, pools."""
    names = list(FAMILIES)[:families]
    cells = []
    for lang in LANGS[:langs]:
        clean = a_cell("flores200", "to-english", (lang, "eng_Latn"))
        cells += [clean, *under_families(clean, names, (1, 2, 4))]
        cells += inside(clean, (0.05, 0.1, 0.25, 0.5))
        cells.append(a_cell("flores200", "from-english", ("eng_Latn", lang)))
        cells.append(a_cell("flores200", "pooled", (lang, "*"), extras=bias_extras(lang)))
    for lang in LANGS[:langs:2]:
        known = {"extras": {"in_training_corpora": 1.0}}
        cells.append(a_cell("ntrex128", "to-english", (lang, "eng_Latn"), **known))
        cells.append(a_cell("tatoeba", "to-english", (lang, "eng_Latn"), queries=300))
    for lang in WIDE:
        cells.append(a_cell("xquad-r", "mono", (lang, lang)))
        cells.append(a_cell("xquad-r", "pooled", (lang, "*"), extras=bias_extras(lang)))
    low = [lang for lang in LANGS[:langs] if track_of(lang) != "other"]
    for one, other in zip(low[::3], low[1::3], strict=False):
        cells.append(a_cell("flores200", "between", (one, other)))
    return a_result(
        cells,
        certified=certified(LANGS[:langs:4]),
        not_measured=[
            {"what": "token_neighbor", "why": "it needs the vocabulary of the encoder"},
            {"what": "case/edits=1 of ckb_Arab", "why": "the script has no case"},
        ],
    )
