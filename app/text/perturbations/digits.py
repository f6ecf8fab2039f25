"""Numbers in the digits of another script: of the text's own, of its language's, or of ASCII."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage
from app.text.script import COMMON, parse_lang, script_of_character

# The zero of each set of digits in everyday use; the nine others follow it.
_ZEROS = "0٠۰߀०০੦૦୦௦౦೦൦෦๐໐༠၀០᠐᱐꯰꧐𞥐０"
_MARKED = "０"
"""Full-width digits, which East Asian keyboards type."""
_ARABIC = {"Arab": ("٠", "۰")}
_MORE = 2


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose each number in the digits of the text's scripts, of ASCII, and two sets more."""
    runs = [tuple(run) for digits, run in groupby(passage.clusters, _is_digit) if digits]
    scripts = set(passage.scripts)
    if context.lang:
        scripts |= parse_lang(context.lang).scripts
    numbers = draw.numbers("sets", len(runs)).tolist()
    for run, number in zip(runs, numbers, strict=True):
        start, end = run[0].start, run[-1].end
        text = passage.text[start:end]
        zeros = [zero for script in sorted(scripts) for zero in _own_zeros(script)]
        others = [zero for zero in _ZEROS[1:] if zero not in zeros]
        zeros += [others[(number + turn) % len(others)] for turn in range(_MORE)]
        forms = dict.fromkeys(_written(text, zero) for zero in ("0", *zeros, _MARKED))
        yield from (Edit(start, end, text, form) for form in forms if form != text)


def _is_digit(cluster: Cluster) -> bool:
    return len(cluster.text) == 1 and cluster.text.isdecimal()


def _written(text: str, zero: str) -> str:
    return "".join(chr(ord(zero) + unicodedata.decimal(digit)) for digit in text)


@cache
def _own_zeros(script: str) -> tuple[str, ...]:
    if script == COMMON:
        return ()
    own = tuple(zero for zero in _ZEROS if script_of_character(zero) == script)
    return _ARABIC.get(script, own)
