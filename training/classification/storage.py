"""A classifier's checkpoint: the files of an encoder's, but for what config.json says.

``load_checkpoint`` refuses such a folder, so a classifier is never served as an encoder.
"""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import load_file

from training.checkpoint import (
    BEST,
    CONFIG,
    MANIFEST,
    MODEL,
    RUN,
    STATE,
    STATE_JSON,
    TOKENIZER,
    CheckpointError,
    Snapshot,
    recover,
    verify_checkpoint,
)
from training.classification.config import PairConfig
from training.classification.model import ClassifierConfig

FREE = frozenset({"run.save_every", "run.log_every"})
"""Keys that a resumed run may change: they say what is written and when, not what is learned."""


def load_snapshot(folder: Path) -> Snapshot:
    """Read a classifier's checkpoint after checking every file.

    Raises:
        CheckpointError: If it is not there, incomplete, changed, or not a classifier's.
    """
    verify_checkpoint(folder)
    try:
        config = ClassifierConfig.model_validate_json((folder / CONFIG).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{folder} is not a classifier's checkpoint ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}): expected a folder that python -m training.classification wrote"
        ) from error
    return Snapshot(
        tokenizer=(folder / TOKENIZER).read_text(encoding="utf-8"),
        config=config,
        weights=load_file(folder / MODEL),
        run=json.loads((folder / RUN).read_bytes()),
        state=load_file(folder / STATE),
        progress=json.loads((folder / STATE_JSON).read_bytes()),
    )


def find_snapshot(config: PairConfig, folder: Path, *, resume: bool) -> Snapshot | None:
    """Look for the checkpoint to go on from; a save that a kill interrupted is completed first.

    Returns:
        The checkpoint, or None if there is none.

    Raises:
        CheckpointError: If there is one and ``resume`` is not set, it is damaged, or it is of
            another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recover(folder)
    recover(folder / BEST)
    held = next((f for f in (folder, folder / BEST) if (f / MANIFEST).exists()), None)
    if held is None:
        return None
    if not resume:
        raise CheckpointError(
            f"{held} already holds a checkpoint: add --resume to continue it, or choose another "
            "folder with --out"
        )
    before = load_snapshot(held)
    ours, theirs = config.model_dump(mode="json"), before.run.get("config", {})
    differing = {
        f"{table}.{key}"
        for table, values in ours.items()
        for key in values
        if values[key] != theirs.get(table, {}).get(key)
    }
    if differing := sorted(differing - FREE):
        raise CheckpointError(
            f"the checkpoint in {folder} was made with another {', '.join(differing)}: resume with "
            "the same configuration, or choose another folder with --out"
        )
    # A best one alone, of a run that was killed before its first save, cannot be gone on from.
    return before if held == folder else None
