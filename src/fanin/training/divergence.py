"""A run whose numbers are no longer finite: where that began, and what to do."""

from typing import Any

import numpy as np
from jaxtyping import Integer

from fanin.autograd import evaluate
from fanin.errors import FaninError
from fanin.networks import Network, Parameters, Statistics, as_values
from fanin.training.record import TrainingState


class Diverged(FaninError):
    """A loss, a parameter or what the optimiser remembers is no longer finite.

    `step` is the step in which it happened, `place` where in the network it began, `state` the
    last state before it; of a dev loss, the state that gave it.
    """

    def __init__(self, step: int, place: str, lr: float, state: TrainingState) -> None:
        super().__init__(
            f"the run diverged in step {step}: {place}. Try a lower learning rate than {lr:g}, or "
            "a start with smaller weights (fanin, say)"
        )
        self.step = step
        self.place = place
        self.state = state


def first_not_finite(
    network: Network,
    parameters: Parameters,
    contexts: Integer[Any, "batch block"],
    targets: Integer[Any, " batch"],
    statistics: Statistics | None = None,
) -> str:
    """Where the first number that is not finite arises in a step, in the order of computation.

    With running `statistics` it is the pass of an evaluation, by them, not by the batch's own.
    """
    # In the order of the network: that of the dictionary is the alphabet's, after a compiled step.
    parameters = {declared.name: parameters[declared.name] for declared in network.parameters}
    for name, array in parameters.items():
        if not np.isfinite(array).all():
            return f"the parameter {name} was not finite before it"
    values = as_values(parameters)
    logits, run = network.run(values, contexts, statistics)
    loss = logits.softmax_cross_entropy(targets)
    evaluation = evaluate(loss)
    for name, node in run.outputs.items():
        if not np.isfinite(evaluation.data[node]).all():
            return f"the layer {name} gave the first value that is not finite"
    if not np.isfinite(evaluation.data[loss]):
        return "the loss overflowed while all logits were finite"
    for name, node in reversed(run.outputs.items()):
        if not np.isfinite(np.asarray(evaluation.gradient[node])).all():
            return f"the gradient of what the layer {name} gave is the first that is not finite"
    for name, value in reversed(values.items()):
        if not np.isfinite(np.asarray(evaluation.gradient[value])).all():
            return f"the gradient of the parameter {name} is the first that is not finite"
    return "the update overflowed while all gradients were finite"
