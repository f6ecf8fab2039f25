"""Steps of training without corpora: a batch of numbers, a trainer, and processes that share both.

    python stepping.py FOLDER

writes the weights after some steps of one process and of two, for ``test_distributed``.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, models

from training import distributed
from training.assembly import new_encoder
from training.collation import Batch, Side
from training.config import TrainConfig
from training.corpus import Bitext
from training.distillation import TeacherVectors
from training.mining import encoder_rows
from training.trainer import Trainer

PAIRS, SPECIAL = 7, 2
EVERYTHING = {
    "loss": {"learn_temperature": True, "matryoshka": (4, 8)},
    "adversarial": {"method": "pgd", "start": 0.0, "weight": 0.4},
    "augmentation": {"self_teaching": 0.5, "typo_probability": 0.5},
    "distillation": {"pooled": 0.5},
}
# Noise that is drawn: it must not depend on how many processes share the batch.
DRAWN = {
    "adversarial": {"method": "freelb", "start": 0.8, "weight": 0.3},
    "smoothing": {"noise": "uniform", "copies": 2, "sigma": 0.5, "weight": 0.4},
}
CASES: dict[str, dict[str, Any]] = {
    "static": {"kind": "static", **EVERYTHING},
    "transformer": {"kind": "transformer", "chunk": 3, **EVERYTHING},
    "static, drawn": {"kind": "static", **DRAWN},
    "transformer, drawn": {
        "kind": "transformer",
        **DRAWN,
        "smoothing": {**DRAWN["smoothing"], "noise": "gaussian", "at": "states"},
    },
}


def make_config(kind: str = "static", chunk: int = 0, **tables: dict[str, Any]) -> TrainConfig:
    """Make a configuration; what needs corpora or a real teacher is not checked."""
    heads = {} if kind == "static" else {"heads": 2, "layers": 1}
    config = TrainConfig.model_validate(
        {
            "run": {"name": "unit", **tables.pop("run", {})},
            "tokenizer": {},
            "encoder": {"kind": kind, "dim": 16, "max_tokens": 16, **heads},
            "corpora": {"weights": {"nllb-seed": 1.0}},
            "batches": {"pairs": PAIRS, "chunk": chunk},
            "optim": {"steps": 8, "lr": 0.01, **tables.pop("optim", {})},
        }
    )
    sections = {
        name: getattr(config, name).model_copy(update=keys) for name, keys in tables.items()
    }
    return config.model_copy(update=sections)


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)

    def side(rows: int) -> Side:
        mask = (np.arange(6) < rng.integers(2, 7, (rows, 1))).astype(np.int64)
        ids = rng.integers(3, 40, (rows, 6)) * mask
        ids[:, 0] = SPECIAL
        return Side(ids, mask)

    return Batch(
        kind="cross",
        query=side(PAIRS),
        document=side(PAIRS),
        pivots=np.arange(PAIRS),
        masked=(np.array([0, 5]), np.array([6, 9])),
        negatives=side(2 * PAIRS),
        noisy=side(PAIRS),
        query_texts=np.arange(PAIRS),
        document_texts=np.arange(PAIRS),
    )


def make_trainer(config: TrainConfig, **options: Any) -> Trainer:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[SEP]": SPECIAL}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[PAD]", "[SEP]"])
    none = np.zeros(0, np.int32)
    bitext = Bitext(
        pa.array([], pa.large_string()),
        ("eng_Latn",),
        (),
        *(none, none, none.astype(np.int16), none.astype(np.int16), none.astype(np.int8)),
    )
    torch.manual_seed(1)
    encoder = new_encoder(config.encoder, vocab_size=40, pad_id=0)
    if config.distillation.pooled and "teacher" not in options:
        vectors = torch.nn.functional.normalize(torch.randn(4, 16), dim=1)
        options["teacher"] = TeacherVectors(vectors, np.array([0, -1, 1, -1, 2, 3, -1]))
    return Trainer(config, encoder, tokenizer, bitext, **options)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.encoder.state_dict().items()}


def _record(path: Path) -> None:
    found = {}
    for name, case in CASES.items():
        trainer = make_trainer(make_config(**case))
        for step in range(2):
            trainer.step(make_batch(step), 0.01)
            found[f"{name} {step}"] = trainer.parts
        found[name] = weights_of(trainer)
    # As mining encodes: shared by the processes, but for a text alone.
    torch.manual_seed(2)
    encode = encoder_rows(new_encoder(make_config().encoder, vocab_size=40, pad_id=0))
    found["encoded"] = [encode(make_batch(9).query.rows(0, rows)) for rows in (PAIRS, 2, 1)]
    found["any"] = distributed.any_process(distributed.rank() == 1)
    found["main"] = distributed.is_main()
    distributed.barrier()
    torch.save(found, path)


def _child(path: Path, rank: int, world: int, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_PORT=str(port)
        )
        with distributed.session(distributed.choose_device("cpu")):
            _record(path)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(folder: Path) -> int:
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = [_child(folder / "one", 0, 1, port)]
    pids += [_child(folder / f"two-{rank}", rank, 2, port) for rank in range(2)]
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
