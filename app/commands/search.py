"""``tyntegra search``: ask a service that runs for documents."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from app.errors import InvalidInputError

SENT_AS_THEY_ARE = ("mode", "min_score", "balance", "cursor")


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add what a search can ask for beside its texts."""
    parser.add_argument("--collection", default="demo", help="where to search (demo)")
    parser.add_argument("--top-k", type=int, default=5, help="hits of each query (5)")
    parser.add_argument("--lang", action="append", help="only this language; may be repeated")
    parser.add_argument(
        "--filter",
        metavar="JSON",
        help='only such documents, as in \'{"metadata": {"year": {"gte": 1990}}}\'',
    )
    parser.add_argument(
        "--mode",
        choices=("dense", "lexical", "hybrid"),
        help="by meaning (dense), by words, for names and codes (lexical), or by both (hybrid)",
    )
    parser.add_argument("--min-score", type=float, help="leave out what scores less")
    parser.add_argument("--exact", action="store_true", help="compare with every vector")
    parser.add_argument(
        "--balance",
        choices=("calibrated", "interleaved"),
        help="put all languages on one level",
    )
    parser.add_argument(
        "--smoothing",
        type=float,
        metavar="SIGMA",
        help="average each query over noise of this size on its tokens, in mean token norms",
    )
    parser.add_argument("--samples", type=int, help="of the noise, with --smoothing (100)")
    parser.add_argument("--noise-seed", type=int, help="chooses the noise, with --smoothing (0)")
    parser.add_argument("--cursor", help="go on where the answer with this next ended")


def search_body(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """Write the request.

    Raises:
        InvalidInputError: If the filter is no JSON object, or noise is described and not asked for.
    """
    body: dict[str, Any] = {
        "collection": options.collection,
        "queries": list(texts),
        "top_k": options.top_k,
    }
    where = _read_filter(options.filter) if options.filter is not None else {}
    if options.lang:
        where = {"lang": options.lang} | ({"and": [where]} if where else {})
    if where:
        body["filter"] = where
    if options.exact:
        body["exact"] = True
    if smoothing := _smoothing(options):
        body["smoothing"] = smoothing
    chosen = {name: getattr(options, name) for name in SENT_AS_THEY_ARE}
    return body | {name: value for name, value in chosen.items() if value is not None}


def _smoothing(options: argparse.Namespace) -> dict[str, Any]:
    chosen = {"sigma": options.smoothing, "samples": options.samples, "seed": options.noise_seed}
    given = {name: value for name, value in chosen.items() if value is not None}
    if given and "sigma" not in given:
        raise InvalidInputError(
            "Got --samples or --noise-seed without --smoothing; expected its SIGMA: give it too."
        )
    return given


def _read_filter(text: str) -> dict[str, Any]:
    try:
        sent = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"--filter is not JSON at character {error.pos}; expected an object, such as "
            '{"lang": ["swh_Latn"]}.'
        ) from None
    if not isinstance(sent, dict) or not sent:
        raise InvalidInputError(
            '--filter is no JSON object with a condition; expected one such as {"lang": '
            '["swh_Latn"]}.'
        )
    return sent
