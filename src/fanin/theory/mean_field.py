"""Moments through any network: forward from its input, and of gradients back from its output.

Mean-field theory (Poole et al. 2016; Schoenholz et al. 2017) of parts that follow each other; exact
as the layers become wide. At width n the logarithm of a layer's moment wanders around what is said
here, with a variance of order depth/n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from fanin.theory.expectations import decorrelation, moments
from fanin.theory.gains import variance
from fanin.theory.nonlinearity import Nonlinearity, NoTheory, TheoryError
from fanin.theory.signals import Signal


@dataclass(frozen=True)
class PartMoments:
    """What theory expects of one part."""

    output: Signal | NoTheory
    """what it hands on"""
    chi: float | NoTheory
    """the second moment of the gradient at its input, for 1 at its output"""


@runtime_checkable
class Part(Protocol):
    """Anything that a signal can be sent through."""

    def moments(self, signal: Signal) -> PartMoments:
        """What the part makes of a signal."""
        ...


@dataclass(frozen=True)
class Linear:
    """W x + b with independent zero-mean weights and biases.

    `weight_variance` is σ_w² = fan-in × Var(weight), the square of a gain; `bias_variance` is
    Var(bias). The fans matter where they differ: the gradient's factor has fan_out/fan_in in it.
    """

    weight_variance: float
    bias_variance: float = 0.0
    fan_in: int = 1
    fan_out: int = 1

    def __post_init__(self) -> None:
        variance(self.weight_variance)
        variance(self.bias_variance, "bias variance")
        if self.fan_in < 1 or self.fan_out < 1:
            raise TheoryError(f"Fans are 1 or more, not {self.fan_in} and {self.fan_out}.")

    def moments(self, signal: Signal) -> PartMoments:
        """Second moments of the input, not variances, go through zero-mean weights."""
        kept = self.weight_variance * signal.second_moment
        second_moment = kept + self.bias_variance
        gamma = signal.decorrelation
        if gamma is not None and second_moment > 0.0:
            gamma *= kept / second_moment
        chi = self.weight_variance * self.fan_out / self.fan_in
        return PartMoments(Signal(second_moment, 0.0, gamma, gaussian=True), chi)


@dataclass(frozen=True)
class Activation:
    """f, entry by entry, on Gaussian pre-activations.

    Poole et al. 2016, sections 2 and 3; for the gradient Schoenholz et al. 2017, section 4.
    """

    nonlinearity: Nonlinearity

    def moments(self, signal: Signal) -> PartMoments:
        """NoTheory where the input is no weighted sum: its distribution is not known then."""
        if not signal.gaussian:
            none = NoTheory(
                f"{self.nonlinearity.name} is not given a layer's weighted sums here, "
                "and of other inputs the moments alone do not say what it makes"
            )
            return PartMoments(none, none)
        q, gamma = signal.second_moment, signal.decorrelation
        at = moments(self.nonlinearity, q)
        if gamma is not None:
            apart = decorrelation(self.nonlinearity, q, gamma)
            gamma = _quotient(apart, at.second_moment)
        return PartMoments(
            Signal(at.second_moment, at.mean, gamma), chi=at.derivative_second_moment
        )


@dataclass(frozen=True)
class Normalise:
    """Batch or layer normalisation with gain 1 and bias 0, as at the start.

    Layer normalisation takes each example's mean over the units away and divides by their standard
    deviation; batch normalisation does so for each unit over the batch, and thereby takes away what
    the examples have in common: what is left has variance v = E[x²](1 − c). Either way the second
    moment becomes v/(v + ε), 1 but for epsilon, and the gradient's is divided by v + ε.

    This is claimed for wide layers and, with batch normalisation, for a large batch (errors of
    order 1/units and 1/batch) whose examples are all equally correlated and whose gradients are
    uncorrelated from one example to another, as at a loss with independent targets. Then its
    output's pairs have correlation 0 (exactly −1/(batch − 1) on average), and in a relu network
    the gradient grows by π/(π − 1) a layer (Yang et al. 2019, "A Mean Field Theory of Batch
    Normalization"). Without the correlation between examples the second moment is given as 1 and
    the gradient of batch normalisation is NoTheory.
    """

    kind: Literal["batch", "layer"]
    epsilon: float = 1e-5

    def moments(self, signal: Signal) -> PartMoments:
        """The signal with unit second moment and zero mean."""
        gamma = signal.decorrelation
        if self.kind == "batch":
            if gamma is None:
                return PartMoments(
                    Signal(1.0, 0.0, 1.0, signal.gaussian),
                    NoTheory(
                        "the gradient through a batch normalisation depends on the correlation "
                        "between examples, which is not known here"
                    ),
                )
            spread = signal.second_moment * gamma
            gamma = 1.0
        else:
            spread = signal.std**2
            if gamma is not None:
                gamma = _quotient(signal.second_moment * gamma, spread)
        divisor = spread + self.epsilon
        return PartMoments(Signal(spread / divisor, 0.0, gamma, signal.gaussian), chi=1.0 / divisor)


@dataclass(frozen=True)
class Residual:
    """x + scale × branch(x), for a branch that has weights of its own and keeps the width.

    The weights are new and zero-mean, so branch and stream are uncorrelated but for their means:
    E[x²] grows by scale² E[branch²] + 2 scale E[x] E[branch], the gradient's second moment by the
    factor 1 + scale² χ(branch).
    """

    branch: tuple[Part, ...]
    scale: float = 1.0

    def moments(self, signal: Signal) -> PartMoments:
        """NoTheory for a branch without weights, or with a part that has none."""
        if not any(isinstance(part, Linear) for part in self.branch):
            none = NoTheory("a branch without weights of its own depends on the stream it adds to")
            return PartMoments(none, none)
        through = propagate(self.branch, signal)
        branch = through[-1].output
        chi = gradient_moments(through)[0]
        if not isinstance(chi, NoTheory):
            chi = 1.0 + self.scale**2 * chi
        if isinstance(branch, NoTheory):
            return PartMoments(branch, chi)
        second_moment = (
            signal.second_moment
            + self.scale**2 * branch.second_moment
            + 2.0 * self.scale * signal.mean * branch.mean
        )
        gamma = None
        if signal.decorrelation is not None and branch.decorrelation is not None:
            # The means' share is common to both examples and drops out of their difference.
            apart = signal.second_moment * signal.decorrelation
            apart += self.scale**2 * branch.second_moment * branch.decorrelation
            gamma = _quotient(apart, second_moment)
        mean = signal.mean + self.scale * branch.mean
        gaussian = signal.gaussian and branch.gaussian
        return PartMoments(Signal(second_moment, mean, gamma, gaussian), chi)


def propagate(parts: Sequence[Part], signal: Signal) -> tuple[PartMoments, ...]:
    """What each part, in order of execution, makes of what the one before it hands on.

    `signal` is the input of the first; without a correlation in it, nothing is said of pairs. After
    a part whose output has no theory, or has grown beyond all numbers, none has, for the same
    reason.
    """
    through: list[PartMoments] = []
    reached: Signal | NoTheory = signal
    for part in parts:
        if isinstance(reached, NoTheory):
            through.append(PartMoments(reached, reached))
        else:
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    through.append(part.moments(reached))
            except TheoryError as error:  # a signal that grew beyond what can be reckoned with
                none = NoTheory(str(error))
                through.append(PartMoments(none, none))
            reached = through[-1].output
    return tuple(through)


def gradient_moments(through: Sequence[PartMoments]) -> tuple[float | NoTheory, ...]:
    """The second moment of the gradient at each part's input, for 1 at the last one's output.

    Entry by entry, over weights drawn independently of the gradient that comes from above
    (Schoenholz et al. 2017, section 4). From the first part without theory on, backwards, none has.
    """
    moment: float | NoTheory = 1.0
    backwards: list[float | NoTheory] = []
    for part in reversed(through):
        if not isinstance(moment, NoTheory):
            moment = part.chi if isinstance(part.chi, NoTheory) else moment * part.chi
        backwards.append(moment)
    return tuple(reversed(backwards))


def _quotient(apart: float, second_moment: float) -> float:
    """γ from a difference; at perfect anticorrelation rounding must not take it past 2."""
    return min(apart / second_moment, 2.0) if second_moment > 0.0 else 0.0
