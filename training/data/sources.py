"""Public corpora and dictionaries at their own addresses, for those who have a network.

An address is listed only where the source itself, or several users of it, name it; a checksum only
where several users of the file agree on it. What has none is pinned by the first fetch (see
``training.data.pins``). None of the files was fetched from here.
``{part}`` in an address stands for what is asked for after a colon, as in ``ntrex128:swa``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.registry import CorpusError

_NTREX = "https://raw.githubusercontent.com/MicrosoftTranslator/NTREX/468c6b69c7f6a75d31d4743d9daba2af566cc18d/NTREX-128"
_LAREQA = "https://raw.githubusercontent.com/google-research-datasets/lareqa/5405d2a77e83d5ccb47623a3f9e5604c3f103193"
_TATOEBA = "https://raw.githubusercontent.com/facebookresearch/LASER/main/data/tatoeba/v1"


@dataclass(frozen=True, slots=True)
class Source:
    """A public source.

    Attributes:
        name: What to ask for.
        content: One line on what it holds.
        licence: As its source states it.
        purpose: What it is made for; never train on what is for evaluation.
        files: Name of each file -> its address.
        part: What stands for ``{part}``, with an example; empty if nothing does.
        sha256: Name of a file -> its published checksum.
    """

    name: str
    content: str
    licence: str
    purpose: Literal["training", "evaluation"]
    files: Mapping[str, str]
    part: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            "nllb-seed",
            "6,193 sentences of Wikipedia in 39 languages with little data",
            "CC BY-SA 4.0",
            "training",
            {"NLLB-Seed.zip": "https://tinyurl.com/NLLBSeed"},
        ),
        Source(
            "ntrex128",
            "1,997 sentences of news in 128 languages, line by line",
            "CC BY-SA 4.0",
            "training",
            {
                "newstest2019-src.eng.txt": f"{_NTREX}/newstest2019-src.eng.txt",
                "newstest2019-ref.{part}.txt": f"{_NTREX}/newstest2019-ref.{{part}}.txt",
            },
            part="a language as its files name it, such as swa or fra-CA",
        ),
        Source(
            "muse",
            "word pairs of English and 44 languages, and of some others",
            "CC BY-NC 4.0",
            "training",
            {"{part}.txt": "https://dl.fbaipublicfiles.com/arrival/dictionaries/{part}.txt"},
            part="two ISO 639-1 codes, such as en-tl",
        ),
        Source(
            "flores200",
            "dev and devtest in 204 languages",
            "CC BY-SA 4.0",
            "evaluation",
            {
                "flores200_dataset.tar.gz": (
                    "https://dl.fbaipublicfiles.com/nllb/flores200_dataset.tar.gz"
                )
            },
            sha256={
                "flores200_dataset.tar.gz": (
                    "b8b0b76783024b85797e5cc75064eb83fc5288b41e9654dabc7be6ae944011f6"
                )
            },
        ),
        Source(
            "tatoeba-v1",
            "up to 1,000 sentences with English, 112 languages",
            "CC BY 2.0 FR",
            "evaluation",
            {
                "tatoeba.{part}-eng.{part}": f"{_TATOEBA}/tatoeba.{{part}}-eng.{{part}}",
                "tatoeba.{part}-eng.eng": f"{_TATOEBA}/tatoeba.{{part}}-eng.eng",
            },
            part="an ISO 639-3 code, such as swh",
        ),
        Source(
            "xquad-r",
            "questions and the sentences that answer them, 11 languages",
            "CC BY-SA 4.0",
            "evaluation",
            {"{part}.json": f"{_LAREQA}/xquad-r/{{part}}.json"},
            part="an ISO 639-1 code, such as hi",
        ),
        Source(
            "xnli",
            "sentence pairs, dev and test, in 15 languages",
            "CC BY-NC 4.0",
            "evaluation",
            {"XNLI-1.0.zip": "https://dl.fbaipublicfiles.com/XNLI/XNLI-1.0.zip"},
            sha256={
                "XNLI-1.0.zip": "4ba1d5e1afdb7161f0f23c66dc787802ccfa8a25a3ddd3b165a35e50df346ab1"
            },
        ),
        Source(
            "xnli-mt",
            "the training pairs of XNLI by machine translation",
            "CC BY-NC 4.0",
            "training",
            {"XNLI-MT-1.0.zip": "https://dl.fbaipublicfiles.com/XNLI/XNLI-MT-1.0.zip"},
        ),
        Source(
            "paws-x",
            "paraphrases and near misses, 7 languages; training, dev and test apart",
            "free for any purpose, as its authors state",
            "training",
            {"x-final.tar.gz": "https://storage.googleapis.com/paws/pawsx/x-final.tar.gz"},
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to fetch.

    Attributes:
        name: Path below the folder of sources.
        url: Where it is.
        sha256: Its published checksum; empty if none is known.
    """

    name: str
    url: str
    sha256: str = ""


def find_files(request: str) -> tuple[Wanted, ...]:
    """Look up the files of a source.

    Args:
        request: A source's name, with ``:PART`` where it has parts; or an address.

    Raises:
        CorpusError: If there is no such source, or its part is missing or out of place.
    """
    if "://" in request:
        file = request.partition("?")[0].rpartition("/")[2]
        return (Wanted(f"own/{_require_plain(file, request)}", request),)
    name, _, part = request.partition(":")
    if name not in SOURCES:
        raise CorpusError(
            f"no source named {name}; there are {', '.join(SOURCES)}: give one of them or an "
            "address with https://"
        )
    source = SOURCES[name]
    if source.part and not part:
        raise CorpusError(f"{name} is fetched by parts: give {name}:PART, {source.part}")
    if part and not source.part:
        raise CorpusError(f"{name} has no parts: give {name} alone, not {request}")
    if part:
        _require_plain(part, request)
    return tuple(
        Wanted(f"{name}/{file}".replace("{part}", part), url.replace("{part}", part), known)
        for file, url in source.files.items()
        for known in [source.sha256.get(file, "")]
    )


def _require_plain(name: str, request: str) -> str:
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum()) or name.startswith("."):
        raise CorpusError(
            f"cannot fetch {request}: {name!r} is no name of a file; expected ASCII letters, "
            "digits, '-', '_' and '.'"
        )
    return name
