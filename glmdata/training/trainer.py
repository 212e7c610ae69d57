"""The training loop: thin, exact, and the same whether it was interrupted or not.

A step takes `accumulation` micro-batches of every rank; a task says what their losses are and weigh. What is random
in a step (dropout) is seeded by (seed, step, rank), so that a resumed run needs no generator's state. On CPU a run that
was killed at any step has the losses of one that was not, to the last bit.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glmdata.errors import ConfigError, TrainingError
from glmdata.model import GLM
from glmdata.model.adapters import is_adapter, load_adapter
from glmdata.model.checkpoint import read_config_json
from glmdata.model.reference import load_weights
from glmdata.randomness import purpose_key
from glmdata.recipe import differences
from glmdata.streaming import ShardStream
from glmdata.streaming.steps import Batch
from glmdata.training.checkpoint import checkpoints, load_part, read_state, save_checkpoint
from glmdata.training.distributed import World, sum_over
from glmdata.training.metrics import Metrics
from glmdata.training.optimizer import load_optimizer_state, make_optimizer, optimizer_state
from glmdata.training.settings import TrainSettings
from glmdata.training.task import Task

__all__ = ["Trainer", "make_model", "seeded"]


def make_model(config: Any, seed: int, device: torch.device) -> GLM:
    """A model with the first weights of a run."""
    with seeded(seed, "weights"):
        return GLM(config).to(device)


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Inside, what PyTorch draws on the CPU follows from the run's seed and the purpose; outside nothing changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(seed, purpose))
        yield


def _seed(seed: int, purpose: str) -> int:
    return int(purpose_key(seed, f"training/{purpose}")) >> 1


class Trainer:
    """Trains a model on a stream, from the newest checkpoint of its run folder on."""

    def __init__(
        self,
        model: GLM,
        stream: ShardStream,
        settings: TrainSettings,
        run: Path,
        *,
        world: World,
        task: Task[Any],
        config: Mapping[str, Any],
        tokenizer: bytes,
        evaluation: ShardStream | None = None,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Make the optimizer and, where the run has a checkpoint, go to where it was.

        Args:
            model: on the world's device, the same on every rank.
            stream: this rank's batches, `settings.batch_size` rows each, without end.
            settings: of the run.
            run: its folder; written by rank 0.
            world: which rank this is.
            task: what the loss of a micro-batch is.
            config: what config.json of its checkpoints says; with `adapter` in it they hold that and no more.
            tokenizer: tokenizer.model of the build that is trained on, which goes into checkpoints.
            evaluation: held-out batches of this rank, one epoch.
            report: gets the metrics of every step.

        Raises:
            ConfigError: the run's checkpoint is of other settings, shards or another model.
        """
        self.settings, self.run, self.world, self.tokenizer = settings, run, world, tokenizer
        self.config, self.part = config, "adapter" if "adapter" in config else "model"
        self.stream, self.task, self.evaluation, self.report = stream, task, evaluation, report
        self.step = 0
        self._rows = settings.batch_size * settings.accumulation * world.size
        """Of a step, all ranks together."""
        self.plain = model
        model.activation_checkpointing = settings.activation_checkpointing
        found = checkpoints(run)
        state = read_state(found[-1][1]) if found else None
        if state is not None:
            self._check(state, found[-1][1])
            tensors = load_part(found[-1][1], self.part)
            load = load_adapter if self.part == "adapter" else load_weights
            load(model, tensors, str(found[-1][1]))
        self.model = self._wrapped(model)
        self.optimizer = make_optimizer(
            model,
            weight_decay=settings.weight_decay,
            betas=(settings.beta1, settings.beta2),
            epsilon=settings.epsilon,
        )
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=settings.precision == "fp16")
        if state is not None:
            load_optimizer_state(model, self.optimizer, load_part(found[-1][1], "optimizer"))
            self.scaler.load_state_dict(state["scaler"])
            self.stream.load_state_dict(state["stream"])
            self.step = state["step"]

    def fit(self) -> dict[str, Any]:
        """Train to the last step; the metrics of the last step made.

        Raises TrainingError where the loss is no longer a number; the last checkpoint is then left as it is.
        """
        settings, line = self.settings, dict[str, Any]()
        with contextlib.ExitStack() as stack:
            metrics = (
                stack.enter_context(Metrics(self.run, self.step, tensorboard=settings.tensorboard))
                if self.world.rank == 0
                else None
            )
            batches = stack.enter_context(contextlib.closing(iter(self.stream)))
            while self.step < settings.steps:
                started = time.perf_counter()
                microbatches = list(itertools.islice(batches, settings.accumulation))
                waited = time.perf_counter() - started
                line = self._update(microbatches)
                seconds = time.perf_counter() - started  # an evaluation is no part of the step's
                line["seconds"] = round(seconds, 6)
                line["tokens_per_second"] = round(line["target_tokens"] / seconds, 1)
                line["loader_wait"] = round(waited / seconds, 6)
                last = self.step == settings.steps
                if self.evaluation is not None and (
                    last or (settings.evaluate_every and self.step % settings.evaluate_every == 0)
                ):
                    line["evaluation"] = self.evaluate()
                if metrics is not None:
                    metrics.write(line)
                    if self.report is not None:
                        self.report(line)
                if last or self.step % settings.save_every == 0:
                    self.save()
        return line

    def evaluate(self) -> dict[str, Any]:
        """Losses on the held-out rows. Raises TrainingError where none of them has a target."""
        sums = self.task.sums()
        self.model.eval()
        with torch.no_grad(), self._autocast():
            for batch in self.evaluation or ():
                self.task.losses(self.model, _to(batch, self.world.device), sums)
        self.model.train()
        sum_over(self.world, sums.sums)
        found = sums.means()
        if not found["target_tokens"]:
            raise TrainingError("the evaluation set has no target tokens; give another one, or none")
        return found

    def save(self) -> Path | None:
        """Write a checkpoint of where the run stands; its folder, on rank 0."""
        model, optimizer = self._whole_states()
        if self.world.rank != 0:
            return None
        state = {
            "step": self.step,
            "settings": self.settings.model_dump(mode="json"),
            "rows": self._rows,
            "stream": self.stream.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        texts = {"config.json": self.config, "state.json": state}
        return save_checkpoint(
            self.run,
            self.step,
            parts={self.part: model, "optimizer": optimizer},
            texts=texts,
            tokenizer=self.tokenizer,
            keep=self.settings.keep,
        )

    def _update(self, batches: list[Batch]) -> dict[str, Any]:
        """One step of the optimizer; its metrics."""
        device, settings = self.world.device, self.settings
        step = self.step + 1
        torch.manual_seed(_seed(settings.seed, f"step {step}/rank {self.world.rank}"))
        batches = [_to(batch, device) for batch in batches]
        weight = sum_over(self.world, torch.stack([self.task.weight(batch) for batch in batches]).sum())
        sums = self.task.sums()
        self.model.train()
        for place, batch in enumerate(batches):
            with self._synchronised(last=place == len(batches) - 1):
                with self._autocast():
                    total = self.task.losses(self.model, batch, sums)
                # Ranks' gradients are averaged, and each loss is to weigh 1 / weight.
                self.scaler.scale(total * (self.world.size / weight)).backward()
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        sum_over(self.world, sums.sums)
        line = {"step": step, **sums.means(), "learning_rate": settings.schedule.at(step), "gradient_norm": norm}
        self._refuse_nan(line)
        if not math.isfinite(norm):  # fp16: the scaler leaves this step out; JSON has no infinity
            line["gradient_norm"] = None
        for group in self.optimizer.param_groups:
            group["lr"] = line["learning_rate"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step = step
        return line

    def _clip(self) -> float:
        parameters = [parameter for parameter in self.plain.parameters() if parameter.grad is not None]
        limit = self.settings.clip or math.inf
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _refuse_nan(self, line: dict[str, Any]) -> None:
        """Loss and gradients must be numbers; with fp16 a step whose gradients are not is left out by the scaler."""
        gradients = math.isfinite(line["gradient_norm"]) or self.settings.precision == "fp16"
        if math.isfinite(line["loss"]) and gradients:
            return
        found = checkpoints(self.run)
        kept = f"the checkpoint of step {found[-1][0]} is kept" if found else "there is no checkpoint yet"
        raise TrainingError(
            f"step {line['step']}: loss {line['loss']}, norm of gradients {line['gradient_norm']}; {kept}: "
            "try again with a lower learning_rate, a lower clip or precision=fp32, and another --out"
        )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.settings.precision == "fp32":
            return contextlib.nullcontext()
        kind = torch.bfloat16 if self.settings.precision == "bf16" else torch.float16
        return torch.autocast(self.world.device.type, kind)

    @contextlib.contextmanager
    def _synchronised(self, *, last: bool) -> Iterator[None]:
        """Ranks exchange gradients once a step, in its last micro-batch."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            with self.model.no_sync():
                yield
            return
        if self.settings.parallel == "fsdp" and self.world.size > 1:
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def _wrapped(self, model: GLM) -> nn.Module:
        wrapped: nn.Module = model
        if self.world.size > 1 and self.settings.parallel == "fsdp":
            from torch.distributed.fsdp import fully_shard

            for layer in model.layers:
                fully_shard(layer)
            fully_shard(model)
        elif self.world.size > 1:
            devices = [self.world.device.index] if self.world.device.type == "cuda" else None
            wrapped = DistributedDataParallel(model, device_ids=devices)
        if self.settings.compile:
            wrapped.compile()
        return wrapped

    def _whole_states(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights, or those of the adapter, and moments by name, whole, on every rank."""
        weights = self.plain.state_dict()
        if self.part == "adapter":
            weights = {name: tensor for name, tensor in weights.items() if is_adapter(name)}
        states = weights, optimizer_state(self.plain, self.optimizer)
        return tuple(  # type: ignore[return-value]
            {
                name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()
                for name, tensor in state.items()
            }
            for state in states
        )

    def _check(self, state: dict[str, Any], checkpoint: Path) -> None:
        """Settings that decide the losses must be those of the checkpoint; how ranks share a step's rows does not."""
        free = {
            "save_every", "keep", "evaluate_every", "compile", "activation_checkpointing", "parallel", "tensorboard"
        }  # fmt: skip
        if state.get("rows") == self._rows:
            free |= {"batch_size", "accumulation"}
        for name, mine, was in differences(self.settings.model_dump(mode="json"), state.get("settings", {})):
            if name not in free:
                raise ConfigError(
                    f"{self.run} was begun with {name}={was}, now it is {mine}; give another --out, "
                    f"or the same settings to go on from step {state['step']}"
                )
        for name, mine, was in differences(self.config, read_config_json(checkpoint)):
            if name != "base.path":
                raise ConfigError(f"{self.run} has a model of {name}={was}, this one has {mine}; give another --out")


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
