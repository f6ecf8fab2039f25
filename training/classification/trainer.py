"""One step of training a classifier, and all state that lasts from one step to the next."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor, nn

from training.adversarial import Adversary
from training.checkpoint import CheckpointError, Snapshot
from training.classification.batches import PairBatch
from training.classification.config import PairConfig
from training.classification.model import PairClassifier
from training.classification.pairs import PairSet
from training.classification.tokenization import PairTokenizer
from training.draws import Draws
from training.gradients import clip_gradients
from training.optimizer import moments_of, restore_moments
from training.passes import Block, Passes
from training.progress import Progress
from training.smoothing import Smoother


class PairTrainer:
    """The classifier under training with its optimizer and progress."""

    def __init__(
        self,
        config: PairConfig,
        model: PairClassifier,
        tokenizer: PairTokenizer,
        sets: Sequence[PairSet],
        steps: int,
    ) -> None:
        self.config = config
        self.model = model.train()
        self.tokenizer = tokenizer
        self.steps = steps
        self.progress = Progress()
        self._sets = sets
        adversarial, smoothing = config.adversarial, config.smoothing
        special = tokenizer.special_ids
        self._adversary = Adversary(adversarial, special) if adversarial.method != "none" else None
        self._smoother = Smoother(smoothing, special) if smoothing.noise != "none" else None
        self.optimizer = torch.optim.AdamW(
            _groups(model, config.optim.weight_decay), config.optim.lr, eps=1e-8
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def step(self, batch: PairBatch) -> float:
        """Move the weights once; returns the rate."""
        optim = self.config.optim
        rate = optim.lr * (1 - self.progress.step / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._learn(batch)
        clip_gradients(self.model.parameters(), optim.clip_norm)
        self.optimizer.step()
        self.progress.note(loss, self.steps)
        return rate

    def _learn(self, batch: PairBatch) -> float:
        """Add the gradients of all passes; returns the loss that is minimized."""
        config, metrics = self.config, self.progress.metrics
        # Dropout and noise depend on the step alone, so there is no generator's state to keep.
        seed = config.run.seed * 1_000_003 + self.progress.step
        draws = Draws(config.run.seed, self.progress.step)
        precision = torch.bfloat16 if config.run.precision == "bf16" else None
        passes = Passes(self.model, config.batches.chunk, precision, seed=seed)
        blocks = [
            Block(batch.block.input_ids.to(self.device), batch.block.attention_mask.to(self.device))
        ]
        labels = batch.labels.to(self.device)

        def loss_of(scores: Sequence[Tensor]) -> Tensor:
            return F.cross_entropy(scores[0], labels)

        weight, loss, gradients = config.clean_weight, 0.0, []
        wanted = self._adversary is not None and self._adversary.wants_clean_gradients
        if weight or wanted:
            clean = passes.backward(blocks, loss_of, weight=weight, want_gradients=wanted)
            loss, gradients = weight * float(clean.loss), clean.noise_gradients
        if self._adversary is not None:
            found = self._adversary.run(passes, blocks, loss_of, gradients, draws.fork())
            metrics["epsilon"] = float(found.radius)
            metrics["relative_epsilon"] = float(found.relative_radius)
            loss += config.adversarial.weight * float(found.loss)
        if self._smoother is not None:
            found = self._smoother.run(passes, blocks, loss_of, draws.fork())
            metrics["sigma"] = float(found.sigma)
            metrics["relative_sigma"] = float(found.relative_sigma)
            loss += config.smoothing.weight * float(found.loss)
        return loss

    def snapshot(self, *, resumable: bool = True) -> Snapshot:
        """Gather all that a checkpoint holds; ``resumable``: with the optimizer's state."""
        moments = moments_of(self.optimizer) if resumable else {}
        return Snapshot(
            tokenizer=self.tokenizer.saved,
            config=self.model.config,
            weights=self.model.state_dict(),
            run=self._describe(),
            state={f"optimizer.{name}": tensor for name, tensor in moments.items()},
            progress=asdict(self.progress),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a checkpoint; the model has its weights already.

        Raises:
            CheckpointError: If the state does not fit the model.
        """
        moments = {name.partition(".")[2]: tensor for name, tensor in snapshot.state.items()}
        try:
            restore_moments(self.optimizer, moments)
            self.progress = Progress(**snapshot.progress)
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"cannot resume from this checkpoint: {error}") from error

    def _describe(self) -> Mapping[str, Any]:
        packages = ("torch", "tokenizers", "transformers", "numpy")
        return {
            "config": self.config.model_dump(mode="json"),
            "steps": self.progress.step,
            "seconds": round(self.progress.seconds, 1),
            "data": {
                pairs.lang: {
                    "pairs": len(pairs),
                    "rows": pairs.rows,
                    "skipped": {reason: len(lines) for reason, lines in pairs.skipped.items()},
                }
                for pairs in self._sets
            },
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "machine": {
                "architecture": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
                "threads": torch.get_num_threads(),
                "device": str(self.device),
            },
            "versions": {name: version(name) for name in packages},
            "curve": self.progress.curve,
            "metrics": self.progress.metrics,
        }


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, but neither biases nor the gains of normalization layers."""
    named = list(model.parameters())
    return [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]
