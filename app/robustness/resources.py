"""What attacks may need besides the query: dictionaries, and the encoder's neighbors of words."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import InvalidInputError
from app.retrieval.store import Encode
from app.robustness.inside import Inside
from app.robustness.request import ProbeRequest
from app.robustness.substitution import Speller
from app.text.lexicon import Lexicon, load_lexicon
from app.text.perturbations.context import Context, TokenNeighbors
from app.text.perturbations.registry import FAMILIES

FindNeighbors = Callable[[Callable[[], bool]], TokenNeighbors | None]
"""Given what tells when to stop: the neighbors of words, or None if that time did not suffice."""

SHARE = 0.25
"""Of a probe's time that getting the neighbors ready may take."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a white-box attack needs of an encoder.

    Attributes:
        inside: Its graphs.
        speller: Its tokenizer.
        learn: Takes texts, to learn how tokens are written in the scripts of a collection, and
            what to call now and then, which may raise.
        documents: Gets the tokenizer of documents; None: that of queries.
    """

    inside: Inside
    speller: Speller
    learn: Callable[[Sequence[str], Callable[[], None]], None] | None = None
    documents: Callable[[], Speller] | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What some attacks cannot do without; those that miss theirs are not applicable.

    Attributes:
        lexicon: Loads the dictionaries; called if an attack of the request needs them. By default
            the small ones that come along.
        token_neighbors: Gets the neighbors of words in the eyes of the encoder that is probed, if
            an attack needs them; see ``EncodedNeighbors.ready``.
        white_box: Opens the white box of the encoder that is probed, if something needs it; may
            raise an error that says why there is none.
        second: Another encoder, for ``constraints.min_similarity``.
    """

    lexicon: Callable[[], Lexicon] | None = load_lexicon
    token_neighbors: FindNeighbors | None = None
    white_box: Callable[[], Access] | None = None
    second: Encode | None = None

    def access(self) -> Access:
        """Open the white box.

        Raises:
            InvalidInputError: If there is none.
        """
        if self.white_box is None:
            raise InvalidInputError(
                "Got white_box or the certificate gaussian_embedding, and the encoder that is "
                "probed has no white box; expected an artifact that was exported with one: leave "
                "them out, or export it again without --no-white-box."
            )
        return self.white_box()

    def contexts(self, request: ProbeRequest, over: Callable[[], bool]) -> list[Context]:
        """Gather what is known about each query of a request.

        Args:
            request: The probe.
            over: Tells that the probe's time is over.
        """
        needed = {need for name in request.attack_names for need in FAMILIES[name].needs}
        if request.certify and "word_substitution" in request.certify.methods:
            needed.add("token_neighbors")
        until = time.monotonic() + SHARE * request.budget.seconds
        lexicon = self.lexicon() if self.lexicon and "dictionary" in needed else None
        neighbors = None
        if self.token_neighbors and "token_neighbors" in needed:
            neighbors = self.token_neighbors(lambda: over() or time.monotonic() >= until)
        switch_to = None if request.switch_to is None else frozenset(request.switch_to)
        return [
            Context(query.lang, lexicon, switch_to, neighbors, _room(query.text, request))
            for query in request.queries
        ]


def vocabulary(lexicon: Lexicon) -> Sequence[str]:
    """Name the single words of a lexicon: a vocabulary for neighbors in many languages."""
    words = (lexicon.word(number)[0] for number in range(sum(lexicon.sizes.values())))
    return tuple(dict.fromkeys(word for word in words if " " not in word))


def _room(text: str, request: ProbeRequest) -> int | None:
    """Characters that each edit may add, so that the text can still be searched for."""
    if request.max_chars is None:
        return None
    return max(0, request.max_chars - len(text)) // request.budget.edits
