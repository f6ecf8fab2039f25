"""May this run go on from that checkpoint? Only if nothing differs that shapes the weights."""

from pathlib import Path

from training.checkpoint import BEST, MANIFEST, CheckpointError, Snapshot, load_checkpoint, recover
from training.config import TrainConfig
from training.epochs import BATCHES_VERSION
from training.rules import is_set

FREE = frozenset({"run.save_every", "run.log_every", "run.tensorboard"})
"""Keys that a resumed run may change: they say what is written and when, not what is learned.

``run.evaluate_every`` is not among them: best checkpoint and early stopping depend on it."""


def find_checkpoint(config: TrainConfig, folder: Path, *, resume: bool) -> Snapshot | None:
    """Look for the checkpoint to go on from; a save that a kill interrupted is completed first.

    Args:
        config: Of the run.
        folder: Of the checkpoint.
        resume: Whether the run is to go on from it.

    Returns:
        The checkpoint, or None if there is none.

    Raises:
        CheckpointError: If there is one and ``resume`` is not set, it is damaged, it is of
            another run, or the run would go on with other batches than it began with.
    """
    recover(folder)
    recover(folder / BEST)
    if not (folder / MANIFEST).exists():
        return None
    if not resume:
        raise CheckpointError(
            f"{folder} already holds a checkpoint: add --resume to continue it, or choose another "
            "folder with --out"
        )
    before = load_checkpoint(folder)
    version = before.run.get("batches_version", 1)  # the first one was not noted
    if version != BATCHES_VERSION:
        raise CheckpointError(
            f"the checkpoint in {folder} is of a run whose batches were drawn in another way "
            f"(version {version}): expected version {BATCHES_VERSION}; resume with the version of "
            "the project that began it, or begin a new run with encoder.start and --out"
        )
    if differing := sorted(differing_keys(config, before) - FREE):
        raise CheckpointError(
            f"the checkpoint in {folder} was made with another {', '.join(differing)}: resume with "
            "the same configuration, or choose another folder with --out"
        )
    return before


def differing_keys(config: TrainConfig, snapshot: Snapshot) -> set[str]:
    """List the keys, as ``table.key``, that a checkpoint was not made with.

    A key that the checkpoint does not have is newer than it, and had the effect of its default.
    """
    ours, theirs = config.model_dump(mode="json"), snapshot.run.get("config", {})
    found = set()
    for table, values in ours.items():
        before = theirs.get(table, {})
        for key, value in values.items():
            known = key in before
            if value != before[key] if known else is_set(getattr(config, table), key):
                found.add(f"{table}.{key}")
    return found
