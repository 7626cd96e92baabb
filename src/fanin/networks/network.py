"""What every network can do, whatever its layers are."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jax import Array
from jaxtyping import Float, Integer

from fanin.autograd import Evaluation, Value, evaluate
from fanin.errors import OptionError
from fanin.networks.declarations import Parameter, Pass
from fanin.networks.layers import Sequential

Parameters = Mapping[str, Array]
"""Arrays by the names under which the network declares them."""

Statistics = Mapping[str, Array]
"""Running mean and variance of each batch-normalisation layer; empty without one."""


class Network(ABC):
    """A description of a language model that reads a block of symbols and weighs the next one.

    Holds sizes and names, no numbers that are learnt; those are passed to its methods.
    """

    vocabulary: int
    block: int

    @property
    @abstractmethod
    def layers(self) -> Sequential:
        """The layers in order of execution, from symbols to logits."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The description as JSON values, from which `network_from` makes it again."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What there is to learn, in order of execution."""
        return self.layers.parameters

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(parameter.shape) for parameter in self.parameters)

    def run(
        self,
        values: Mapping[str, Value],
        contexts: Integer[Any, "batch block"],
        statistics: Statistics | None = None,
    ) -> tuple[Value, Pass]:
        """The node of the logits, (batch, vocab), and what every layer gave on the way.

        Without `statistics` batch normalisation uses the moments of these contexts. Raises
        OptionError where a parameter lacks.
        """
        missing = [p.name for p in self.parameters if p.name not in values]
        if missing:
            raise OptionError(
                f"the network has no values for {', '.join(missing)}; found {', '.join(values)}"
            )
        run = Pass(values, statistics)
        return self.layers(contexts, run), run

    def logits(
        self,
        values: Mapping[str, Value],
        contexts: Integer[Any, "batch block"],
        statistics: Statistics | None = None,
    ) -> Value:
        """The node of the logits, (batch, vocab)."""
        return self.run(values, contexts, statistics)[0]

    def loss(
        self,
        values: Mapping[str, Value],
        contexts: Integer[Any, "batch block"],
        targets: Integer[Any, " batch"],
        statistics: Statistics | None = None,
    ) -> Value:
        """The node of the mean cross-entropy, in nats per symbol."""
        return self.logits(values, contexts, statistics).softmax_cross_entropy(targets)

    def logits_of(
        self,
        parameters: Parameters,
        contexts: Integer[Any, "batch block"],
        statistics: Statistics | None = None,
    ) -> Float[Array, "batch vocab"]:
        """The logits as an array, from arrays."""
        logits = self.logits(as_values(parameters), contexts, statistics)
        return evaluate(logits, gradients=False).data[logits]


def as_values(parameters: Parameters) -> dict[str, Value]:
    """A leaf for each parameter, of its name."""
    return {name: Value(array, name=name) for name, array in parameters.items()}


def batch_statistics(run: Pass, evaluation: Evaluation) -> dict[str, Array]:
    """The mean and variance that each batch-normalisation layer met in an evaluated pass."""
    found: dict[str, Array] = {}
    for name, node in run.normalised.items():
        x = evaluation.data[node]
        axes = tuple(range(x.ndim - 1))
        found[f"{name}.mean"] = x.mean(axes)
        found[f"{name}.variance"] = x.var(axes)
    return found


def initial_statistics(
    network: Network, parameters: Parameters, contexts: Integer[Any, "batch block"]
) -> dict[str, Array]:
    """The statistics to begin with: the moments of these contexts, with these parameters."""
    logits, run = network.run(as_values(parameters), contexts)
    if not run.normalised:
        return {}
    return batch_statistics(run, evaluate(logits, gradients=False))
