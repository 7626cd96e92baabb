"""What travels between layers, in the limit of wide layers: moments, and those of a pair."""

import math
from dataclasses import dataclass

from fanin.theory.gains import variance
from fanin.theory.nonlinearity import TheoryError


@dataclass(frozen=True)
class Signal:
    """The entries of a layer's input or output, over units and examples.

    Errors: TheoryError for moments that no signal can have.
    """

    second_moment: float = 1.0
    """E[x²]; of pre-activations it is q"""
    mean: float = 0.0
    """E[x] over the units, taken to be the same for every example"""
    decorrelation: float | None = None
    """γ = 1 − c of two different examples, c = E[x₁ x₂]/E[x²] over the units (of second moments,
    not centred); None where nothing is known of pairs"""
    gaussian: bool = False
    """whether the entries are Gaussian over the units, as sums over random weights are"""

    def __post_init__(self) -> None:
        variance(self.second_moment, "second moment")
        if self.mean**2 > self.second_moment * (1.0 + 1e-9):
            raise TheoryError(
                f"A signal of mean {self.mean:.6g} has a second moment of at least its square, "
                f"not {self.second_moment:.6g}."
            )
        if self.decorrelation is not None and not 0.0 <= self.decorrelation <= 2.0:
            raise TheoryError(
                f"A correlation lies between -1 and 1, not at {1.0 - self.decorrelation:.6g}."
            )

    @classmethod
    def correlated(
        cls, correlation: float, second_moment: float = 1.0, mean: float = 0.0
    ) -> "Signal":
        """A signal whose pairs of examples have this correlation."""
        return cls(second_moment, mean, 1.0 - correlation)

    @property
    def correlation(self) -> float | None:
        """c of two different examples; None where nothing is known of pairs."""
        return None if self.decorrelation is None else 1.0 - self.decorrelation

    @property
    def std(self) -> float:
        """The standard deviation over all entries."""
        return math.sqrt(max(self.second_moment - self.mean**2, 0.0))
