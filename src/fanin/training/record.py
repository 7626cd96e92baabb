"""What a training run yields and leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float32


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands after `step` steps: all that the next step depends on.

    `statistics` are the running moments of batch normalisation, `optimiser` is optax's state.
    """

    step: int
    parameters: Mapping[str, Array]
    statistics: Mapping[str, Array] = field(default_factory=dict[str, Array])
    optimiser: Any = ()


@dataclass(frozen=True)
class Progress:
    """One report of a running training.

    `batch_losses` are those of the steps since the last report, in nats per symbol; `dev_loss` is
    there where the dev set was evaluated at this step; `seconds` count from the beginning of the
    loop, compilation included.
    """

    step: int
    batch_losses: Float32[np.ndarray, " steps"]
    dev_loss: float | None
    seconds: float
    state: TrainingState


@dataclass(frozen=True)
class History:
    """The losses of a run: one for each step, and the dev losses with the steps they belong to."""

    batch_losses: Float32[np.ndarray, " steps"] = field(
        default_factory=lambda: np.zeros(0, np.float32)
    )
    dev_steps: tuple[int, ...] = ()
    dev_losses: tuple[float, ...] = ()
