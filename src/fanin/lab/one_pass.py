"""What a network of one hidden layer has inside: its arrays on some examples, forward and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Integer

from fanin.autograd import evaluate
from fanin.networks import Network
from fanin.networks.network import as_values


@final
@dataclass(frozen=True)
class Within:
    """Arrays of one pass, by layer name, and the loss; gradients are those of the mean loss."""

    loss: float
    outputs: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray]
    logits: Float[np.ndarray, "batch vocab"]

    @property
    def logit_variance(self) -> float:
        """The variance of an example's logits over the symbols, on average over the examples."""
        return float(self.logits.var(axis=1, dtype=np.float64).mean())


def within(
    network: Network,
    parameters: Mapping[str, Any],
    contexts: Integer[np.ndarray, "batch block"],
    targets: Integer[np.ndarray, " batch"],
) -> Within:
    """Send examples through a network and their loss back, and keep what every layer gave."""
    logits, run = network.run(as_values(parameters), contexts.astype(np.int32))
    loss = logits.softmax_cross_entropy(targets.astype(np.int32))
    evaluation = evaluate(loss)
    return Within(
        float(evaluation.data[loss]),
        {name: np.asarray(evaluation.data[node]) for name, node in run.outputs.items()},
        {name: np.asarray(evaluation.gradient[node]) for name, node in run.outputs.items()},
        np.asarray(evaluation.data[logits]),
    )
