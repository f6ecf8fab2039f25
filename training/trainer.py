"""One step of training, and all state that lasts from one step to the next.

A step adds up the gradients of its passes, over all processes, and moves the weights once. A step
whose loss or gradient is no number moves nothing and ends the run.
"""

import copy
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training import distributed
from training.checkpoint import CheckpointError, Snapshot
from training.collation import Batch
from training.composition import Composition, StatesLossOf
from training.config import TrainConfig
from training.corpus import Bitext
from training.distillation import TeacherVectors
from training.epochs import BATCHES_VERSION
from training.gradients import clip_gradients
from training.model import Encoder
from training.optimizer import make_optimizer, moments_of, restore_moments
from training.phrases import PHRASES
from training.progress import Progress

TEMPERATURE_RATE = 1e-3  # of a learned temperature's logarithm, at the peak of the schedule
SCALER_STATE = ("scale", "_growth_tracker")
LEAST_SCALE = 1.0  # of gradients in float16; below it they overflow for another reason


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what to try."""


class Trainer:
    """The encoder under training with its optimizer, averages and progress.

    Args:
        config: Of the run.
        encoder: To train; it is moved to the run's device.
        tokenizer: Of the encoder.
        bitext: What it is trained on, to be named in the checkpoint.
        teacher: For pooled distillation.
        states_loss_of: For a loss of token states; added to the clean loss.

    Attributes:
        progress: Where the run stands.
        parts: Parts of the last step's loss and what else it measured, by name.

    Raises:
        ConfigError: If the run's device is not there.
    """

    def __init__(
        self,
        config: TrainConfig,
        encoder: Encoder,
        tokenizer: Tokenizer,
        bitext: Bitext,
        teacher: TeacherVectors | None = None,
        states_loss_of: StatesLossOf | None = None,
    ) -> None:
        self.config = config
        self.device = distributed.choose_device(config.run.device)
        self.encoder = encoder.to(self.device).train()
        self.tokenizer = tokenizer
        self.progress = Progress()
        self.parts: dict[str, float] = {}
        self._corpora = bitext.corpora
        self._languages = bitext.langs
        self._skipped = bitext.skipped
        special_ids = [
            token_id
            for token_id, token in tokenizer.get_added_tokens_decoder().items()
            if token.special
        ]
        self._losses = Composition(config, special_ids, teacher, states_loss_of).to(self.device)
        self._optimizer = make_optimizer(encoder, config.optim)
        learned = [p for p in self._losses.parameters() if p.requires_grad]
        self._own_optimizer = torch.optim.Adam(learned, TEMPERATURE_RATE) if learned else None
        # Off but for float16, whose small gradients would be lost.
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=config.run.precision == "fp16"
        )
        self._average = (
            {name: tensor.detach().clone() for name, tensor in encoder.named_parameters()}
            if config.optim.ema
            else {}
        )

    def step(self, batch: Batch, rate: float) -> None:
        """Move the weights once.

        Args:
            batch: The whole one; each process takes its part.
            rate: Of the optimizer.

        Raises:
            TrainingError: If loss or gradient is not finite; the weights are as before.
        """
        config = self.config
        if distributed.world() > 1:
            batch = batch.shard(distributed.rank(), distributed.world())
        self._set_rates(rate)
        scale = float(self._scaler.scale(torch.ones((), device=self.device)))

        # Gradients of all passes, of all processes; unscaled, measured and clipped.
        found = self._losses.backward(self.encoder, batch, self.progress.step, scale)
        distributed.sum_gradients(self.encoder.parameters())
        self._scaler.unscale_(self._optimizer)
        clip_norm = config.optim.clip_norm if config.encoder.kind == "transformer" else None
        norm = clip_gradients(self.encoder.parameters(), clip_norm)
        values = torch.stack([value.float().to(self.device) for value in found.values()]).tolist()
        self.parts = dict(zip(found, values, strict=True)) | {"gradient_norm": norm}
        self._check()

        # The weights, unless float16 overflowed; then the scale is lowered for the next step.
        self._scaler.step(self._optimizer)
        if math.isfinite(norm):
            self._step_own(scale)
        self._scaler.update()
        with torch.no_grad():
            for name, tensor in self.encoder.named_parameters():
                if name in self._average:
                    self._average[name].lerp_(tensor, 1 - config.optim.ema)
        loss = self.parts.pop("loss")
        self.progress.metrics |= self.parts
        self.progress.note(loss, config.optim.steps)

    def _set_rates(self, rate: float) -> None:
        """Set the rates and forget the gradients of the step before."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        if self._own_optimizer is not None:
            for group in self._own_optimizer.param_groups:
                group["lr"] = TEMPERATURE_RATE * rate / self.config.optim.lr
            self._own_optimizer.zero_grad(set_to_none=True)

    def _step_own(self, scale: float) -> None:
        """Move the parameters of the losses."""
        if self._own_optimizer is None:
            return
        for parameter in self._losses.parameters():
            if parameter.grad is not None:
                # Each process has the gradient of the whole batch.
                parameter.grad = parameter.grad / scale
        self._own_optimizer.step()
        self._losses.temperature.bound()

    def _check(self) -> None:
        """Stop before the weights are lost.

        Raises:
            TrainingError: If they would be.
        """
        loss, norm = self.parts["loss"], self.parts["gradient_norm"]
        half = self._scaler.is_enabled()
        if half:
            self.parts["gradient_scale"] = self._scaler.get_scale()
        fine = math.isfinite(loss) and (half or math.isfinite(norm))
        if fine and (not half or self.parts["gradient_scale"] >= LEAST_SCALE):
            return
        self._optimizer.zero_grad(set_to_none=True)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.parts.items())
        raise TrainingError(
            f"step {self.progress.step + 1} of {self.config.optim.steps}: got {figures}; expected "
            "finite numbers. The weights were not moved and the last complete checkpoint is as it "
            "was. Try a lower optim.lr or a longer optim.warmup, a higher loss.temperature, a "
            "smaller adversarial.epsilon or smoothing.sigma, or run.precision = 'fp32'"
        )

    def averaged(self) -> Encoder:
        """Return the encoder to keep: with averaged weights, if there are averages."""
        if not self._average:
            return self.encoder
        encoder = copy.deepcopy(self.encoder).eval()
        encoder.load_state_dict(self._average, strict=False)
        return encoder

    def snapshot(self) -> Snapshot:
        """Gather all that a checkpoint holds.

        Raises:
            TrainingError: If a number of it is none: ``--resume`` would start from it.
        """
        moments = moments_of(self._optimizer)
        state = {f"optimizer.{name}": tensor for name, tensor in moments.items()}
        if self._average:
            state |= {f"live.{name}": t for name, t in self.encoder.named_parameters()}
        if self._own_optimizer is not None:
            temperature = self._losses.temperature.log_inverse
            own = self._own_optimizer.state[temperature]
            state |= {"own.log_inverse": temperature.detach()}
            state |= {f"own.{key}": torch.as_tensor(value) for key, value in own.items()}
        if self._scaler.is_enabled():
            values = self._scaler.state_dict()
            state |= {f"scaler.{key}": torch.tensor(values[key]) for key in SCALER_STATE}
        weights = self.averaged().state_dict()
        self._require_finite(weights | state)
        return Snapshot(
            tokenizer=self.tokenizer.to_str(),
            config=self.encoder.config,
            weights=weights,
            run=self._describe(),
            state=state,
            progress=asdict(self.progress),
        )

    def _require_finite(self, tensors: Mapping[str, Tensor]) -> None:
        bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise TrainingError(
                f"step {self.progress.step} of {self.config.optim.steps} left numbers that are not "
                f"finite in {bad[0]}{more}: nothing was saved and the last complete checkpoint, if "
                "there is one, is as it was. Try a lower optim.lr or a longer optim.warmup"
            )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a checkpoint; the encoder has its weights already.

        Raises:
            CheckpointError: If the state does not fit the encoder.
        """
        sections: dict[str, dict[str, Tensor]] = {}
        for name, tensor in snapshot.state.items():
            section, _, rest = name.partition(".")
            sections.setdefault(section, {})[rest] = tensor
        try:
            restore_moments(self._optimizer, sections.get("optimizer", {}))
            if self._average:
                # The checkpoint's weights are the averages; the live ones are in the state.
                for name, tensor in self._average.items():
                    tensor.copy_(snapshot.weights[name])
                self.encoder.load_state_dict(sections.get("live", {}), strict=False)
            self._restore_own(sections.get("own", {}))
            if self._scaler.is_enabled() and "scaler" in sections:
                kept = {key: value.item() for key, value in sections["scaler"].items()}
                self._scaler.load_state_dict(self._scaler.state_dict() | kept)
            self.progress = Progress(**snapshot.progress)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"cannot resume from this checkpoint: {error}") from error

    def _restore_own(self, state: Mapping[str, Tensor]) -> None:
        if self._own_optimizer is None or not state:
            return
        moments = dict(state)
        temperature = self._losses.temperature.log_inverse
        temperature.data.copy_(moments.pop("log_inverse"))
        groups = self._own_optimizer.state_dict()["param_groups"]
        kept = {0: moments} if moments else {}
        self._own_optimizer.load_state_dict({"state": kept, "param_groups": groups})

    def _describe(self) -> dict[str, Any]:
        packages = ("torch", "tokenizers", "transformers", "numpy")
        return {
            "config": self.config.model_dump(mode="json"),
            "batches_version": BATCHES_VERSION,
            "steps": self.progress.step,
            "seconds": round(self.progress.seconds, 1),
            "corpora": [
                {"name": c.name, "licence": c.licence, "shippable": c.shippable}
                for c in self._corpora
                if c.name != PHRASES  # cut out of the others
            ],
            "skipped": {name: dict(reasons) for name, reasons in self._skipped.items()},
            "languages": sorted(self._languages),
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "machine": {
                "architecture": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
                "threads": torch.get_num_threads(),
                "device": self.device.type,
                "processes": distributed.world(),
            },
            "versions": {name: version(name) for name in packages},
            "curve": self.progress.curve,
            "metrics": self.progress.metrics,
        }
