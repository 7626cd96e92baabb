"""What a training run is asked to do."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fanin.errors import OptionError

Schedule = Literal["step", "constant"]


@dataclass(frozen=True)
class TrainingOptions:
    """The settings of plain stochastic gradient descent; the defaults are the published ones.

    `schedule`: "step" divides the learning rate by ten from half of the steps on, "constant"
    leaves it. `eval_every` counts steps between dev losses; None means a fortieth of all steps.
    Raises OptionError, naming the setting, for what cannot be.
    """

    steps: int = 200_000
    batch: int = 32
    lr: float = 0.1
    schedule: Schedule = "step"
    eval_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("steps", 0, 10**12),
            ("batch", 1, 10**7),
            ("eval_every", 1, 10**12),
            ("seed", 0, 2**32 - 1),
        ):
            number = getattr(self, name)
            if number is not None and not least <= number <= most:
                raise OptionError(f"{name} must be from {least} to {most}; found {number}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise OptionError(f"lr must be a positive number; found {self.lr}")
        if self.schedule not in get_args(Schedule):
            raise OptionError(
                f"schedule {self.schedule!r} is not known; choose {' or '.join(get_args(Schedule))}"
            )

    @property
    def evaluate_every(self) -> int:
        """Steps from one dev loss to the next."""
        return self.eval_every or max(1, -(-self.steps // 40))
