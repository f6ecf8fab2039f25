"""What a step minimizes: the clean loss, the loss under adversarial and under random noise.

    (1 - a - s) clean + a adversarial + s smoothed

Each is a pass or some passes over the same batch. The clean pass alone has what is not about noise
on embeddings: self-teaching on queries with typos, and the loss of token states.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from training import distributed
from training.adversarial import Adversary
from training.collation import Batch, Side
from training.config import TrainConfig
from training.contrastive import Temperature
from training.distillation import TeacherVectors
from training.draws import Draws
from training.model import Encoder
from training.objective import Objective, names_of
from training.passes import Block, Passes, StatesLoss
from training.smoothing import Smoother

StatesLossOf = Callable[[Batch], StatesLoss | None]
"""From this process' part of a batch to its loss of token states; None: it has none."""


class Composition(nn.Module):
    """All losses of a run; the temperature is its one parameter."""

    def __init__(
        self,
        config: TrainConfig,
        special_ids: Sequence[int] = (),
        teacher: TeacherVectors | None = None,
        states_loss_of: StatesLossOf | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.temperature = Temperature(
            config.loss.temperature, learned=config.loss.learn_temperature
        )
        self._adversary = Adversary(config.adversarial, special_ids)
        self._smoother = Smoother(config.smoothing, special_ids)
        self._teacher = teacher
        self._states_loss_of = states_loss_of

    def backward(
        self, encoder: Encoder, batch: Batch, step: int, scale: float
    ) -> dict[str, Tensor]:
        """Add the gradients of one step to the parameters'.

        Args:
            encoder: In the mode in which it is trained, on its device.
            batch: This process' part.
            step: From 0; with the run's seed it chooses dropout and noise.
            scale: Factor of the gradients.

        Returns:
            Scalars by name: ``loss`` is what the step minimizes, ``loss_...`` are its parts
            without their weights.
        """
        config, device = self.config, self.temperature.log_inverse.device
        names = names_of(batch)
        blocks = [_block(getattr(batch, name), batch, device) for name in names]
        objective = Objective(
            config,
            self.temperature,
            names,
            masked=(_tensor(batch.masked[0], device), _tensor(batch.masked[1], device)),
            taught=self._taught(batch, device),
        )
        seed = np.random.SeedSequence([config.run.seed, step, distributed.rank()])
        dropout = int(seed.generate_state(1)[0])
        passes = Passes(
            encoder, config.batches.chunk, PRECISIONS[config.run.precision], scale, dropout
        )
        found, clean_gradients = self._clean(passes, blocks, objective, batch)
        # Queries with typos are for the clean pass alone, and they come last.
        kept = [name for name in names if name != "noisy"]
        noisy_blocks, clean_gradients = blocks[: len(kept)], clean_gradients[: len(kept)]
        under_noise = Objective(config, self.temperature, kept, objective.masked, objective.taught)
        draws = Draws(config.run.seed, step)
        if config.adversarial.method != "none":
            result = self._adversary.run(
                passes, noisy_blocks, under_noise, clean_gradients, draws.fork()
            )
            found["loss"] = found["loss"] + config.adversarial.weight * result.loss
            found["loss_adversarial"] = result.loss
            found["epsilon"], found["relative_epsilon"] = result.radius, result.relative_radius
        if config.smoothing.noise != "none":
            smoothed = self._smoother.run(passes, noisy_blocks, under_noise, draws.fork())
            found["loss"] = found["loss"] + config.smoothing.weight * smoothed.loss
            found["loss_smoothing"] = smoothed.loss
            found["sigma"], found["relative_sigma"] = smoothed.sigma, smoothed.relative_sigma
        if config.loss.learn_temperature:
            found["temperature"] = self.temperature().detach()
        return found

    def _clean(
        self, passes: Passes, blocks: Sequence[Block], objective: Objective, batch: Batch
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Make the clean pass, unless nothing needs it."""
        config = self.config
        weight = clean_weight(config)
        wanted = self._adversary.wants_clean_gradients
        if not weight and not wanted:
            return {"loss": torch.zeros((), device=blocks[0].input_ids.device)}, []
        states_loss = self._states_loss_of(batch) if self._states_loss_of and weight else None
        result = passes.backward(
            blocks, objective, weight=weight, want_gradients=wanted, states_loss=states_loss
        )
        found = {f"loss_{name}": part for name, part in objective.parts.items()}
        found["loss_clean"] = result.loss
        if states_loss is not None:
            weighted = distributed.total(result.states_loss)
            found["loss_transport"] = weighted / (config.distillation.transport or 1.0)
            found["loss_clean"] = found["loss_clean"] + weighted
        found["loss"] = weight * found["loss_clean"]
        return found, result.noise_gradients

    def _taught(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Find what the teacher knows of the whole batch."""
        if self._teacher is None or batch.kind != "cross" or not self.config.distillation.pooled:
            return None
        positions, vectors = self._teacher.find(batch.pivots)
        return positions.to(device), vectors.to(device)


PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def clean_weight(config: TrainConfig) -> float:
    """Return what noise leaves to the clean loss."""
    weight = 1.0
    if config.adversarial.method != "none":
        weight -= config.adversarial.weight
    if config.smoothing.noise != "none":
        weight -= config.smoothing.weight
    return max(weight, 0.0) if abs(weight) > 1e-9 else 0.0


def _block(side: Side, batch: Batch, device: torch.device) -> Block:
    """Move one side to the device, and say which rows of the whole batch it has."""
    pairs, own = len(batch.pivots), len(batch.query.input_ids)
    each = len(side.input_ids) // own  # texts of a pair: one, or its hard negatives
    first = pairs * distributed.rank() // distributed.world()
    tensors = _tensor(side.input_ids, device), _tensor(side.attention_mask, device)
    return Block(*tensors, first=first * each, rows=pairs * each)


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
