"""The white box of an artifact, opened for one probe."""

from pathlib import Path

from app.artifact import TOKENIZER, read_artifact
from app.encoder.gradient import WhiteBox
from app.encoder.hardware import Device
from app.encoder.spelling import Spelling
from app.encoder.tokenizer import Tokenizer
from app.errors import InvalidInputError
from app.robustness.inside import Inside
from app.robustness.resources import Access


def open_access(artifact: Path, precision: str = "auto", device: Device = "cpu") -> Access:
    """Open an artifact's white box and tokenizer; blocking, about a second.

    Args:
        artifact: The folder that export wrote.
        precision: Whose graphs to look into; those of another precision if it has none.
        device: Where they run; on CPUs in one thread, for a probe stands behind all requests.

    Raises:
        InvalidInputError: If the artifact has no white box.
        ArtifactError: If it is not what its manifest says.
    """
    manifest, contents = read_artifact(artifact, lambda _: (TOKENIZER,))
    having = [name for name, graph in manifest.precisions.items() if graph.white_box]
    if not having:
        raise InvalidInputError(
            f"The encoder {manifest.model_id} has no white box, so nothing can look inside it; "
            "expected an artifact with one: export the checkpoint again with fp32 among its "
            "precisions and without --no-white-box, or leave out white_box, gaussian_embedding and "
            "smoothing."
        )
    chosen = precision if precision in having else "auto"
    threads = 1 if device == "cpu" else 0
    box = WhiteBox.open(artifact, precision=chosen, device=device, threads=threads)
    tokenizer = Tokenizer(contents[TOKENIZER], manifest)
    speller = Spelling(tokenizer, manifest, "query")
    alike = manifest.prompts.query == manifest.prompts.document
    return Access(
        Inside(box, speller.vocabulary),
        speller,
        speller.learn,
        lambda: speller if alike else Spelling(tokenizer, manifest, "document"),
    )
