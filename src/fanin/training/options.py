"""What a training run is asked to do."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from fanin.errors import OptionError
from fanin.training.optimiser import Optimiser, OptimiserName

Schedule = Literal["step", "cosine", "constant"]

# The published rate for plain gradient descent, and the customary one for Adam.
DEFAULT_LR = {"sgd": 0.1, "adam": 0.001, "adamw": 0.001}

LEAST_FLOAT32, MOST_FLOAT32 = 1.2e-38, 3.4e38


@dataclass(frozen=True)
class TrainingOptions:
    """The settings of a training run; the defaults are the published ones.

    `lr` None means 0.1 for SGD and 0.001 for Adam and AdamW. `schedule`: "step" divides the
    learning rate by ten from half of the steps on, "cosine" lowers it to zero at the end,
    "constant" leaves it; the rate rises evenly over the first `warm_up` steps. `eval_every` counts
    steps between dev losses; None means a fortieth of all steps. `weight_decay` None means 0.01
    for AdamW, as in PyTorch, and 0 for the others. Raises OptionError, naming the setting, for
    what cannot be.
    """

    steps: int = 200_000
    batch: int = 32
    lr: float | None = None
    schedule: Schedule = "step"
    eval_every: int | None = None
    seed: int = 0
    optimiser: OptimiserName = "sgd"
    momentum: float = 0.0
    weight_decay: float | None = None
    warm_up: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("steps", 0, 10**9),
            ("batch", 1, 10**7),
            ("eval_every", 1, 10**9),
            ("seed", 0, 2**32 - 1),
            ("warm_up", 0, 10**9),
        ):
            number: Any = getattr(self, name)
            if number is None and name == "eval_every":
                continue
            if (
                isinstance(number, bool)
                or not isinstance(number, int)
                or not least <= number <= most
            ):
                raise OptionError(
                    f"{name} must be from {least:,} to {most:,}, a whole number; found {number!r}"
                )
        for name, known in (
            ("schedule", get_args(Schedule)),
            ("optimiser", get_args(OptimiserName)),
        ):
            if getattr(self, name) not in known:
                raise OptionError(
                    f"{name} {getattr(self, name)!r} is not known; choose {' or '.join(known)}"
                )
        for name in ("lr", "momentum", "weight_decay"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, Real)):
                raise OptionError(f"{name} must be a number; found {number!r}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise OptionError(f"lr must be a positive number; found {self.lr}")
        if self.lr is not None and not LEAST_FLOAT32 <= self.lr <= MOST_FLOAT32:
            raise OptionError(
                f"lr must be from {LEAST_FLOAT32} to {MOST_FLOAT32}, which are what float32 "
                f"holds; found {self.lr}"
            )
        if self.warm_up > self.steps > 0:
            raise OptionError(
                f"warm_up must end within the {self.steps:,} steps; found {self.warm_up:,}"
            )
        if not 0 <= self.momentum < 1:
            raise OptionError(f"momentum must be from 0 to below 1; found {self.momentum}")
        if self.momentum and self.optimiser != "sgd":
            raise OptionError(f"momentum goes with sgd; {self.optimiser} has its own")
        decay = self.weight_decay
        if decay is not None and not 0 <= decay <= MOST_FLOAT32:
            raise OptionError(
                f"weight_decay must be 0 or more, up to the {MOST_FLOAT32} that float32 holds; "
                f"found {decay}"
            )
        if decay and self.optimiser == "adam":
            raise OptionError("weight_decay goes with sgd and adamw; choose adamw instead of adam")

    @property
    def rate(self) -> float:
        """The learning rate before any schedule."""
        return DEFAULT_LR[self.optimiser] if self.lr is None else self.lr

    @property
    def evaluate_every(self) -> int:
        """Steps from one dev loss to the next."""
        return self.eval_every or max(1, -(-self.steps // 40))

    @property
    def update_rule(self) -> Optimiser:
        """The optimiser with its settings."""
        decay = self.weight_decay
        if decay is None:
            decay = 0.01 if self.optimiser == "adamw" else 0.0
        return Optimiser(self.optimiser, self.momentum, decay)
