"""How a network is trained: the ``training`` section of a run's configuration."""

from dataclasses import dataclass, field
from math import cos, pi
from typing import Literal

from sumi.data.batch import NoiseName
from sumi.errors import InputError
from sumi.training.power_ema import LONGEST, SHORTEST
from sumi.training.trackers import TrackerName


@dataclass(frozen=True)
class TrainingConfig:
    """An optimizer with warm-up and decay, gradient clipping, and an exponential moving average of the weights."""

    steps: int = field(default=20_000, metadata={"most": 10**9, "help": "optimizer steps in all"})
    batch_size: int = field(
        default=128, metadata={"most": 2**20, "help": "items per optimizer step, over all accumulation"}
    )
    accumulation: int = field(
        default=1, metadata={"most": 2**20, "help": "number of parts a batch is split into, to save memory"}
    )
    order: Literal["shuffled", "keyed", "windowed"] = field(
        default="shuffled",
        metadata={
            "help": "of the items in an epoch; shuffled: a list of all, made anew each epoch; keyed: each item's place "
            "is computed alone, at once and without memory, for sets of many millions; windowed: as keyed, but nearly "
            "in the order of the files, for disks that are slow to jump"
        },
    )
    noise: NoiseName = field(
        default="philox",
        metadata={
            "help": "the generator of what is random in a step; philox: on the device that trains, the same bits on "
            "each; numpy: on the CPU, as in runs that began before there was a choice"
        },
    )
    optimizer: Literal["adamw", "muon"] = field(
        default="adamw",
        metadata={"help": "of the network; muon: of its matrices and kernels, with AdamW for the rest"},
    )
    learning_rate: float = field(
        default=1e-3, metadata={"help": "peak learning rate of AdamW; lower it for wide networks"}
    )
    muon_learning_rate: float = field(
        default=0.02, metadata={"help": "peak learning rate of Muon, with the warm-up and decay of the other"}
    )
    warmup_steps: int = field(
        default=100, metadata={"most": 10**9, "help": "steps over which the learning rate rises from 0"}
    )
    decay: Literal["constant", "linear", "cosine"] = field(
        default="constant", metadata={"help": "how the learning rate falls to 0 after the warm-up"}
    )
    lora_rank: int | None = field(
        default=None,
        metadata={
            "most": 4096,
            "help": "rank of the additions that train in place of the weights that a run begins from, such as 4; their "
            "learning rate is 10 times learning_rate; none: all weights train",
        },
    )
    lora_share: float | None = field(
        default=0.05,
        metadata={
            "help": "largest addition with lora_rank, as a share of its layer's weights; in smaller layers the rank is "
            "lower; none: the same rank in all"
        },
    )
    weight_decay: float = field(default=0.0, metadata={"help": "AdamW's decoupled weight decay"})
    beta_1: float = field(default=0.9, metadata={"help": "AdamW's decay rate of the gradient average"})
    beta_2: float = field(default=0.999, metadata={"help": "AdamW's decay rate of the squared gradient average"})
    gradient_clip: float = field(default=1.0, metadata={"help": "largest norm of the gradient"})
    ema_decay: float = field(
        default=0.9999,
        metadata={"help": "of the averaged weights used for sampling; ramps up as (1 + step)/(10 + step)"},
    )
    ema_lengths: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "of further averages, as shares of the training, such as [0.05,0.1], from which `sumi ema` makes "
            "one of any length; none: no such averages"
        },
    )
    ema_snapshot_every: int = field(
        default=500, metadata={"most": 10**9, "help": "steps between snapshots of the averages of ema_lengths"}
    )
    micro_batch: Literal["all", "auto"] = field(
        default="all",
        metadata={"help": "what is computed at once of a part of the batch; auto: half of it where memory is short"},
    )
    recompute: bool = field(
        default=False,
        metadata={"help": "compute the activations of each block again for its gradients, to save memory"},
    )
    compile: Literal["off", "on", "auto"] = field(
        default="off",
        metadata={
            "help": "merge what a block computes between its products (torch.compile); on: all blocks; auto: those of "
            "transformers, in trainings of 2000 steps or more; off: none"
        },
    )
    shard: Literal["none", "full"] = field(
        default="none",
        metadata={
            "help": "what each of several processes holds; full: its share of the weights, averages, gradients and "
            "optimizer; none: all of them"
        },
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = field(
        default="auto",
        metadata={
            "help": "of the network in training; auto: bf16 if the device supports it; fp16: with a scaled loss, for "
            "devices without bf16"
        },
    )
    skip_limit: int = field(
        default=10,
        metadata={"help": "steps in a row with a loss or gradient that is not finite, each skipped, that end the run"},
    )
    tracker: TrackerName = field(
        default="none",
        metadata={"help": "what shows the numbers of metrics.jsonl besides; each needs its extra, such as sumi[wandb]"},
    )
    log_every: int = field(default=50, metadata={"help": "steps between lines in metrics.jsonl"})
    check_every: int = field(
        default=1_000,
        metadata={"help": "steps between measurements of the loss on held-out images, and of copies; 0: never"},
    )
    sample_every: int = field(
        default=2_000, metadata={"help": "steps between grids of samples; 0: only after the last step"}
    )
    checkpoint_every: int = field(
        default=1_000, metadata={"help": "steps between checkpoints; the last step is always saved"}
    )
    keep_checkpoints: int = field(default=3, metadata={"help": "number of newest checkpoints to keep"})

    def __post_init__(self) -> None:
        intervals = ("log_every", "checkpoint_every", "keep_checkpoints", "ema_snapshot_every")
        for name in ("steps", "batch_size", "accumulation", "skip_limit", *intervals):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name}: {getattr(self, name)} is too small; give 1 or more")
        for name in ("warmup_steps", "check_every", "sample_every", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"training.{name}: {getattr(self, name)} is negative; give 0 or more")
        for name in ("learning_rate", "muon_learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"training.{name}: {getattr(self, name)} is not positive")
        for name in ("beta_1", "beta_2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"training.{name}: {getattr(self, name)} is not in [0, 1)")
        if self.lora_rank is not None and self.lora_rank < 1:
            raise InputError(f"training.lora_rank: {self.lora_rank} is too small; give 1 or more, or none")
        if self.lora_share is not None and not 0 < self.lora_share <= 1:
            raise InputError(f"training.lora_share: {self.lora_share:g} is not a share; give above 0 to 1, or none")
        if self.lora_rank is not None and self.optimizer != "adamw":
            raise InputError(f"training.optimizer: {self.optimizer} is for whole weights; use adamw with lora_rank")
        for length in self.ema_lengths:
            if not SHORTEST <= length <= LONGEST:
                raise InputError(f"training.ema_lengths: {length:g} is not from {SHORTEST} to {LONGEST}")
        if len(set(self.ema_lengths)) < len(self.ema_lengths):
            raise InputError("training.ema_lengths: two are the same; give different ones, such as [0.05,0.1]")
        if self.shard != "none" and self.lora_rank is not None:
            raise InputError("training.shard: shares out whole weights; leave it out with lora_rank")
        if self.ema_lengths and self.lora_rank is not None:
            raise InputError("training.ema_lengths: are of whole weights; leave them out with lora_rank")
        if self.batch_size % self.accumulation:
            raise InputError(
                f"training.accumulation: {self.accumulation} does not divide training.batch_size = {self.batch_size}"
            )

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step 1 … steps: linear warm-up, then ``decay``."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        left = 1 - (step - self.warmup_steps - 1) / max(1, self.steps - self.warmup_steps)  # 1 … just above 0
        factor = {"constant": 1.0, "linear": left, "cosine": (1 - cos(pi * left)) / 2}[self.decay]
        return self.learning_rate * factor

    def ema_decay_at(self, step: int) -> float:
        """The EMA decay of step 1 … steps; the ramp keeps the initial weights from dominating short runs."""
        return min(self.ema_decay, (1 + step) / (10 + step))
