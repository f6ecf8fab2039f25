"""One step of training, and all state that lasts from one step to the next."""

import copy
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.adversarial import Block, adversarial_loss
from training.batches import Batch, Side
from training.checkpoint import CheckpointError, Snapshot
from training.config import TrainConfig
from training.contrastive import info_nce
from training.corpus import Bitext
from training.distillation import TeacherVectors, pooled_distillation
from training.model import Encoder
from training.optimizer import RowAdam
from training.progress import Progress


class Trainer:
    """The encoder under training with its optimizer, averages and progress."""

    def __init__(
        self,
        config: TrainConfig,
        encoder: Encoder,
        tokenizer: Tokenizer,
        bitext: Bitext,
        teacher: TeacherVectors | None = None,
    ) -> None:
        self.config = config
        self.encoder = encoder.train()
        self.tokenizer = tokenizer
        self.progress = Progress()
        self._teacher = teacher
        self._corpora = bitext.corpora
        self._languages = bitext.langs
        self._special_ids = [
            token_id
            for token_id, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        ]
        if config.encoder.kind == "static":
            self._optimizer: torch.optim.Optimizer = RowAdam(encoder.parameters(), config.optim.lr)
        else:
            self._optimizer = torch.optim.AdamW(
                encoder.parameters(), config.optim.lr, weight_decay=config.optim.weight_decay
            )
        self._average = (
            {name: tensor.detach().clone() for name, tensor in encoder.named_parameters()}
            if config.optim.ema
            else {}
        )

    def step(self, batch: Batch, rate: float) -> None:
        """Move the weights once."""
        progress = self.progress
        # Dropout depends on the step alone, so there is no generator's state to keep.
        torch.manual_seed(self.config.run.seed * 1_000_003 + progress.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.encoder.kind == "transformer":
            torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), self.config.optim.clip_norm)
        self._optimizer.step()
        with torch.no_grad():
            for name, tensor in self.encoder.named_parameters():
                if name in self._average:
                    self._average[name].lerp_(tensor, 1 - self.config.optim.ema)
        progress.note(float(loss.detach()), self.config.optim.steps)

    def loss(self, batch: Batch) -> Tensor:
        """Compute what a step minimizes, a scalar."""
        config, noise = self.config.loss, self.config.adversarial
        blocks = [_block(batch.query), _block(batch.document)]
        rows, columns = (torch.from_numpy(part) for part in batch.masked)

        taught = None
        if self._teacher is not None and batch.kind == "cross":
            taught = self._teacher.find(batch.pivots)

        def loss_of(vectors: Sequence[Tensor]) -> Tensor:
            queries, documents = vectors  # (pairs, dim) each
            contrast = info_nce(
                queries,
                documents,
                config.temperature,
                symmetric=config.symmetric,
                masked=(rows, columns),
            )
            if taught is None:
                return contrast
            return contrast + self.config.distillation.pooled * pooled_distillation(
                vectors, *taught
            )

        if noise.method == "none":
            return loss_of([self.encoder(b.input_ids, b.attention_mask) for b in blocks])
        robust = adversarial_loss(
            self.encoder,
            blocks,
            loss_of,
            noise.epsilon,
            relative=noise.relative,
            special_ids=self._special_ids,
        )
        self.progress.metrics["epsilon"] = float(robust.epsilon)
        return (1 - noise.weight) * robust.clean + noise.weight * robust.adversarial

    def averaged(self) -> Encoder:
        """Return the encoder to keep: with averaged weights, if there are averages."""
        if not self._average:
            return self.encoder
        encoder = copy.deepcopy(self.encoder).eval()
        encoder.load_state_dict(self._average, strict=False)
        return encoder

    def snapshot(self) -> Snapshot:
        """Gather all that a checkpoint holds."""
        state = {
            f"optimizer.{index}.{key}": torch.as_tensor(value)
            for index, values in self._optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        if self._average:
            state |= {f"live.{name}": t for name, t in self.encoder.named_parameters()}
        return Snapshot(
            tokenizer=self.tokenizer.to_str(),
            config=self.encoder.config,
            weights=self.averaged().state_dict(),
            run=self._describe(),
            state=state,
            progress=asdict(self.progress),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a checkpoint; the encoder has its weights already.

        Raises:
            CheckpointError: If the state does not fit the encoder.
        """
        states: dict[int, dict[str, Tensor]] = {}
        live: dict[str, Tensor] = {}
        for name, tensor in snapshot.state.items():
            section, _, rest = name.partition(".")
            if section == "live":
                live[rest] = tensor
            else:
                index, _, key = rest.partition(".")
                states.setdefault(int(index), {})[key] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        try:
            self._optimizer.load_state_dict({"state": states, "param_groups": groups})
            if self._average:
                # The checkpoint's weights are the averages; the live ones are in the state.
                self.encoder.load_state_dict(live, strict=False)
            self.progress = Progress(**snapshot.progress)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"cannot resume from this checkpoint: {error}") from error

    def _describe(self) -> dict[str, Any]:
        packages = ("torch", "tokenizers", "transformers", "numpy")
        return {
            "config": self.config.model_dump(mode="json"),
            "steps": self.progress.step,
            "seconds": round(self.progress.seconds, 1),
            "corpora": [
                {"name": c.name, "licence": c.licence, "shippable": c.shippable}
                for c in self._corpora
            ],
            "languages": sorted(self._languages),
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "machine": {
                "architecture": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
                "threads": torch.get_num_threads(),
            },
            "versions": {name: version(name) for name in packages},
            "curve": self.progress.curve,
            "metrics": self.progress.metrics,
        }


def _block(side: Side) -> Block:
    return Block(torch.from_numpy(side.input_ids), torch.from_numpy(side.attention_mask))
