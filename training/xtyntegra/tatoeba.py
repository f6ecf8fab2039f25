"""Tatoeba v1 by LASER's protocol: each sentence finds its English one within its language's set.

A hit is the nearest neighbor by cosine, so ``accuracy@1`` is 1 minus the error that LASER reports
from xxx to English. English sides differ between languages: figures of two models can be compared,
those of two languages cannot.
"""

from collections.abc import Collection
from pathlib import Path

from training.registry import CorpusError
from training.xtyntegra.parquet import read_texts
from training.xtyntegra.task import Cell, Pool, one_to_one

NAME = "tatoeba"
ENGLISH = "eng_Latn"

_FLORES = """
    afr afr_Latn amh amh_Ethi ang ang_Latn ara arb_Arab arq arq_Arab arz arz_Arab ast ast_Latn
    awa awa_Deva aze azj_Latn bel bel_Cyrl ben ben_Beng ber ber_Latn bos bos_Latn bre bre_Latn
    bul bul_Cyrl cat cat_Latn cbk cbk_Latn ceb ceb_Latn ces ces_Latn cha cha_Latn cmn zho_Hans
    cor cor_Latn csb csb_Latn cym cym_Latn dan dan_Latn deu deu_Latn dsb dsb_Latn dtp dtp_Latn
    ell ell_Grek epo epo_Latn est est_Latn eus eus_Latn fao fao_Latn fin fin_Latn fra fra_Latn
    fry fry_Latn gla gla_Latn gle gle_Latn glg glg_Latn gsw gsw_Latn heb heb_Hebr hin hin_Deva
    hrv hrv_Latn hsb hsb_Latn hun hun_Latn hye hye_Armn ido ido_Latn ile ile_Latn ina ina_Latn
    ind ind_Latn isl isl_Latn ita ita_Latn jav jav_Latn jpn jpn_Jpan kab kab_Latn kat kat_Geor
    kaz kaz_Cyrl khm khm_Khmr kor kor_Hang kur kmr_Latn kzj kzj_Latn lat lat_Latn lfn lfn_Latn
    lit lit_Latn lvs lvs_Latn mal mal_Mlym mar mar_Deva max max_Latn mhr mhr_Cyrl mkd mkd_Cyrl
    mon khk_Cyrl nds nds_Latn nld nld_Latn nno nno_Latn nob nob_Latn nov nov_Latn oci oci_Latn
    orv orv_Cyrl pam pam_Latn pes pes_Arab pms pms_Latn pol pol_Latn por por_Latn ron ron_Latn
    rus rus_Cyrl slk slk_Latn slv slv_Latn spa spa_Latn sqi als_Latn srp srp_Latn swe swe_Latn
    swg swg_Latn swh swh_Latn tam tam_Taml tat tat_Cyrl tel tel_Telu tgl tgl_Latn tha tha_Thai
    tuk tuk_Latn tur tur_Latn tzl tzl_Latn uig uig_Arab ukr ukr_Cyrl urd urd_Arab uzb uzn_Latn
    vie vie_Latn war war_Latn wuu wuu_Hans xho xho_Latn yid ydd_Hebr yue yue_Hant zsm zsm_Latn
"""
_WORDS = _FLORES.split()
FLORES: dict[str, str] = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
"""LASER's code -> code in the manner of FLORES, with the script of most of the set's texts.

Where FLORES has a language that most speakers of a macrolanguage use, that one is named: ara, aze,
kur, mon, sqi, uzb, yid. Sets in two scripts go by the larger part: lfn, srp and uzb hold Cyrillic
and Latin. ``ber`` stands for Berber languages together."""


def load(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make one cell for each language of Tatoeba v1.

    Args:
        data: The data folder, which holds ``eval/``.
        languages: Codes as in ``FLORES``; empty: all.

    Raises:
        CorpusError: If the file cannot be read or has a language without a known code.
    """
    path = data / "eval" / "tatoeba-v1.parquet"
    columns = read_texts(path, ["lang", "text", "english"])
    pairs: dict[str, list[tuple[str, str]]] = {}
    for code, text, english in zip(*columns.values(), strict=True):
        pairs.setdefault(code, []).append((text, english))
    if unknown := sorted(pairs.keys() - FLORES.keys()):
        raise CorpusError(f"{path}: no FLORES code is known for {', '.join(unknown)}")
    return [
        cell_of(NAME, code, FLORES[code], each)
        for code, each in sorted(pairs.items())
        if not languages or FLORES[code] in languages
    ]


def cell_of(task: str, code: str, lang: str, pairs: list[tuple[str, str]]) -> Cell:
    """Make the cell of one language.

    Args:
        task: Name of the task.
        code: The language as the source names it; part of the ids, as ids are its own.
        lang: FLORES code.
        pairs: Text and its English translation.
    """
    ids = [f"{task}:{code}:{row}" for row in range(len(pairs))]
    english = [translation for _, translation in pairs]
    pool = Pool(f"{task}:{code}:{ENGLISH}", english, [ENGLISH] * len(pairs), ids)
    queries = [text for text, _ in pairs]
    answers = one_to_one(len(pairs))
    return Cell(task, "to-english", lang, ENGLISH, queries, ids, pool, answers)
