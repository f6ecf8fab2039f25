"""Attacks from the inside against a live collection, and certificates beside them.

Attacks pull at a copy of the collection's vectors in memory; what they find is searched for in the
live store, exactly, and the rank reported is that one. Noise on embeddings is searched for by its
vector, for it has no text.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.store import Encode, VectorStore
from app.robustness.aim import Demote
from app.robustness.ball import Ball
from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import Certificate, gaussian_certificate
from app.robustness.descent import Descent, push, scatter
from app.robustness.finding import Case, Finding, InsideAttack, of_noise, of_text, outcome_of
from app.robustness.goal import Standing
from app.robustness.hotflip import Flipped, Flips, flip_tokens
from app.robustness.inside import HaltedError
from app.robustness.margin import Margin, margin_radius
from app.robustness.pool import Pool, collect
from app.robustness.smoothing import Lens, Noise, noisy_vectors, unit_rows
from app.robustness.standings import Standings
from app.robustness.substitution import Speller, row_of
from app.robustness.trigger import Search, Trigger, find_trigger
from app.text.perturbations.edits import Edit

Stop = Callable[[], bool]

_ANEW = 1 << 40  # added to a seed, gives noise that no search is served with


class WhiteBoxProbe:
    """One collection seen through one white box.

    Attributes:
        pool: The collection's vectors in memory.
        lens: The encoder, plain or smoothed.
    """

    def __init__(
        self,
        lens: Lens,
        speller: Speller,
        store: VectorStore,
        collection: str,
        encode: Encode | None = None,
        pool: Pool | None = None,
    ) -> None:
        """Read the collection's vectors.

        Args:
            lens: The encoder, plain or smoothed.
            speller: Its tokenizer.
            store: Where the collection is.
            collection: Its name.
            encode: The encoder that serves queries, if it is another than the white box: an int8
                graph beside a white box in fp32. Texts are ranked by it, one at a time. It may
                raise ``HaltedError``; attacks then raise it too, but for texts found already.
            pool: The collection's vectors, if they have been read already.

        Raises:
            NotFoundError: If there is no such collection.
            InvalidInputError: If it is empty or too large, or its vectors are of another length.
        """
        self.lens, self._speller = lens, speller
        self._encode = encode
        self.pool: Pool = pool or collect(store, collection)
        self._standings = Standings(store, collection, self.pool)
        if not self.pool.complete:
            raise InvalidInputError(
                f"The collection {collection} has more passages than the {len(self.pool.vectors)} "
                "that a white-box attack can hold in memory; probe a smaller collection."
            )

    def push(
        self, cases: Sequence[Case], ball: Ball, descent: Descent, *, stop: Stop = lambda: False
    ) -> list[Finding]:
        """Search for the worst noise on embeddings; see ``descent.push``.

        Raises:
            HaltedError: If it was stopped before the texts were encoded.
        """
        return self._noise("embedding_pgd", cases, ball, descent, stop)

    def scatter(
        self, cases: Sequence[Case], ball: Ball, descent: Descent, *, stop: Stop = lambda: False
    ) -> list[Finding]:
        """Try random noise of the same size and number; see ``descent.scatter``."""
        return self._noise("embedding_noise", cases, ball, descent, stop)

    def exchange(
        self, cases: Sequence[Case], flips: Flips, *, stop: Stop = lambda: False
    ) -> list[Finding]:
        """Search for the worst exchange of tokens; see ``hotflip.flip_tokens``."""
        if not cases:
            return []
        texts = [case.text for case in cases]
        vectors, clean = self._clean(cases, stop)
        found = flip_tokens(self.lens, self._speller, texts, self._aim(cases), flips, stop=stop)
        after = self._served_again(found, vectors)
        worst = self._stand(list(after), cases, stop)
        return [
            of_text(case, one, before, now, float(np.linalg.norm(moved - vector)))
            for case, one, before, now, moved, vector in zip(
                cases, found, clean, worst, after, vectors, strict=True
            )
        ]

    def trigger(
        self, known: Sequence[Case], others: Sequence[Case], search: Search, *, stop: Stop
    ) -> tuple[Trigger, list[Finding]]:
        """Find a trigger with some queries, and see what it does to others.

        Returns:
            The trigger, and a finding for each of the others.
        """
        aim = self._aim(known)
        texts = [case.text for case in known]
        found = find_trigger(self.lens, self._speller, texts, aim, search, stop=stop)
        if not others:
            return found, []
        vectors, clean = self._clean(others, stop)
        read = self._speller.read([found.on(case.text) for case in others])
        after = self._served([one.text for one in read])
        worst = self._stand(list(after), others, stop)
        return found, [
            Finding(
                "universal_trigger",
                outcome_of(case, before, now, tried=True),
                before,
                now,
                text.text,
                (Edit(0, 0, "", f"{found.text} "),),
                0.0,
                float(np.linalg.norm(moved - vector)),
                1,
                found.complete,
            )
            for case, before, now, text, moved, vector in zip(
                others, clean, worst, read, after, vectors, strict=True
            )
        ]

    def margins(self, cases: Sequence[Case]) -> list[Margin]:
        """Bound how far each query's vector may move; see ``margin.margin_radius``."""
        vectors = self._served([case.text for case in cases])
        return [
            margin_radius(vector, self.pool, case.goal.relevant, case.goal.top_k)
            for vector, case in zip(vectors, cases, strict=True)
        ]

    def certify(
        self, case: Case, confidence: Confidence, samples: int | None = None
    ) -> Certificate:
        """Certify a query's smoothed search.

        The noise is drawn anew, not that of the search: a relevant document that was chosen as the
        smoothed search's own top hit would otherwise be favored by the very samples that judge it.

        Args:
            case: The query.
            confidence: How sure to be.
            samples: How many to draw; None: as many as the search averages.

        Raises:
            InvalidInputError: If the lens is not smoothed.
        """
        noise = self.lens.noise
        if noise is None:
            raise InvalidInputError(
                "The encoder is not smoothed, so there is nothing to certify; give sigma and "
                "samples."
            )
        fresh = Noise(noise.sigma, samples or noise.samples, noise.seed + _ANEW)
        (read,) = self._speller.read([case.text])
        drawn = noisy_vectors(self.lens.inside, row_of(read), fresh)
        low = preference(drawn, self.pool, case.goal.relevant, case.goal.top_k, confidence)
        sigma, unit = noise.entry_sigma(self.lens.inside), self.lens.inside.mean_norm
        return gaussian_certificate(low, sigma, unit, fresh.samples, confidence)

    def _noise(
        self,
        attack: InsideAttack,
        cases: Sequence[Case],
        ball: Ball,
        descent: Descent,
        stop: Stop,
    ) -> list[Finding]:
        if not cases:
            return []
        rows = [row_of(one) for one in self._speller.read([case.text for case in cases])]
        search = push if attack == "embedding_pgd" else scatter
        with self.lens.inside.until(stop):
            vectors = unit_rows(self.lens.texts(rows))
        clean = self._stand(list(vectors), cases, stop)
        found = search(self.lens, rows, self._aim(cases), ball, descent, stop=stop)
        moved = [n for n, one in enumerate(found) if one.shift > 0.0]
        worst = list(clean)
        there = self._stand([found[n].vector for n in moved], [cases[n] for n in moved], stop)
        for n, standing in zip(moved, there, strict=True):
            worst[n] = standing
        return [
            of_noise(attack, case, one, before, after)
            for case, one, before, after in zip(cases, found, clean, worst, strict=True)
        ]

    def _aim(self, cases: Sequence[Case]) -> Demote:
        depths = {case.goal.top_k for case in cases}
        if len(depths) != 1:
            raise InvalidInputError(f"Got cases with top_k {sorted(depths)}; expected one of all.")
        return Demote(self.pool, [case.goal.relevant for case in cases], depths.pop())

    def _clean(
        self, cases: Sequence[Case], stop: Stop
    ) -> tuple[NDArray[np.float32], list[Standing]]:
        vectors = self._served([case.text for case in cases])
        return vectors, self._stand(list(vectors), cases, stop)

    def _served(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as a search does, shape (texts, dim)."""
        if self._encode is not None:
            return np.concatenate([self._encode([text]) for text in texts])
        return unit_rows(self.lens.texts([row_of(one) for one in self._speller.read(texts)]))

    def _served_again(
        self, found: Sequence[Flipped], vectors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Encode what was found as a search does; if that is stopped, take what the attack saw."""
        try:
            return self._served([one.text for one in found])
        except HaltedError:
            seen = [one.vector if one.vector.size else vectors[n] for n, one in enumerate(found)]
            return np.array(seen)

    def _stand(
        self, vectors: Sequence[NDArray[np.float32]], cases: Sequence[Case], stop: Stop
    ) -> list[Standing]:
        return self._standings.of(vectors, [case.goal for case in cases], stop)
