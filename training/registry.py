"""The corpora that a run may name: those that the project knows, and files of one's own.

The registry says under which licence each file stands and whether weights learned from it may be
shipped. Files under ``eval/`` are not in it, so they cannot be trained on by name.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
OWN_LICENCE = "not known here"


class CorpusError(ValueError):
    """The corpora cannot be used; the message says which, why, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file of pairs and the terms it stands under.

    Attributes:
        name: Of the file, without its suffix, or the one given to an own file.
        licence: As its source states it.
        shippable: Whether weights learned from it may enter a shipped artifact.
        document_order: Whether neighboring rows of one language are neighboring sentences.
        n_way: Whether texts beside one pivot text translate each other, so that pairs need not
            have the pivot as one side.
        path: Of an own file, whose sides are a query and the document that answers it; empty: a
            file of the data folder, whose sides translate each other.
    """

    name: str
    licence: str
    shippable: bool
    document_order: bool = False
    n_way: bool = False
    path: str = ""

    @property
    def own(self) -> bool:
        """Whether it is a file of one's own, with queries and documents."""
        return bool(self.path)


CORPORA: Mapping[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("nllb-seed", "CC BY-SA 4.0", shippable=True, document_order=True, n_way=True),
        Corpus("ntrex128", "CC BY-SA 4.0", shippable=True, document_order=True, n_way=True),
        Corpus("bible-nt", "public domain / CC0", shippable=True, document_order=True, n_way=True),
        Corpus("indian-parallel", "CC BY-SA 3.0", shippable=True),
        Corpus("indian-parallel-dict", "CC BY-SA 3.0", shippable=True),
        Corpus("nusax", "CC BY-SA 4.0", shippable=True, n_way=True),
        Corpus("nusa-writes", "as stated by IndoNLP", shippable=True),
        Corpus("gnome-user-docs", "CC BY-SA 3.0", shippable=True),
        Corpus("python-docs", "PSF / CC0", shippable=True),
        Corpus("scratch-l10n", "BSD 3-clause", shippable=True),
        Corpus("wikipedia-app", "Apache 2.0", shippable=True),
        Corpus("osm-id-schema", "ISC", shippable=True),
        Corpus("lafand-mt", "CC BY-NC 4.0", shippable=False),
        Corpus("menyo20k", "CC BY-NC 4.0", shippable=False),
        Corpus("multi30k", "research use", shippable=False),
        Corpus("americasnlp2021", "as stated by each source", shippable=False),
    )
}


def data_folder() -> Path:
    """Return the folder of the corpora, from ``TYNTEGRA_DATA`` or beside the project.

    Raises:
        CorpusError: If there is no such folder.
    """
    folder = Path(os.environ.get("TYNTEGRA_DATA") or DEFAULT_DATA)
    if not (folder / "bitext").is_dir():
        raise CorpusError(
            f"no corpora at {folder} (expected {folder / 'bitext'}): set TYNTEGRA_DATA to their "
            "folder"
        )
    return folder


def select_corpora(
    names: Sequence[str], *, shippable: bool, files: Mapping[str, str] | None = None
) -> tuple[Corpus, ...]:
    """Look corpora up, in the registry or among own files.

    Args:
        names: Of the corpora.
        shippable: Refuse those that may not enter a shipped artifact; own files among them, as
            nothing here knows their licence.
        files: Path of each own file, by the name that it is given.

    Raises:
        CorpusError: If one is unknown, an own one has the name of another, or, with
            ``shippable``, one is not shippable.
    """
    files = files or {}
    if taken := sorted(set(files) & set(CORPORA)):
        raise CorpusError(
            f"got own files named {', '.join(taken)}: expected names that no corpus of the "
            "registry has; rename them in corpora.files"
        )
    own = {name: Corpus(name, OWN_LICENCE, False, path=path) for name, path in files.items()}
    known = {**CORPORA, **own}
    if unknown := sorted(set(names) - set(known)):
        raise CorpusError(f"unknown corpora {', '.join(unknown)}: expected of {', '.join(known)}")
    corpora = tuple(known[name] for name in names)
    if shippable and (refused := [c for c in corpora if not c.shippable]):
        stated = ", ".join(f"{corpus.name} ({corpus.licence})" for corpus in refused)
        raise CorpusError(
            f"got {stated} in a shippable run: expected only corpora whose licence lets the "
            "weights be shipped; drop them or set corpora.shippable = false"
        )
    return corpora
