"""A scheme: how to fill a network's declared parameters, as data that can be copied and changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fanin.theory.gains import forward_gain
from fanin.theory.nonlinearity import Nonlinearity

if TYPE_CHECKING:
    from fanin.networks.declarations import Parameter

Distribution = Literal["normal", "uniform", "orthogonal", "constant"]
Mode = Literal["none", "fan_in", "fan_out", "average"]


@dataclass(frozen=True)
class Rule:
    """How one role's parameters are drawn.

    The standard deviation is gain / √fan, with the fan that `mode` names ("average" is that of
    fan-in and fan-out; "none" divides by nothing). A gain of "forward" is the exact one of the
    activation before the layer, 1/√E[f(z)²], and 1 where there is none. "uniform" spreads evenly
    over ±√3 standard deviations; "orthogonal" scales an orthogonal matrix by the gain alone;
    "constant" puts the gain itself in every place.
    """

    distribution: Distribution
    gain: float | Literal["forward"] = 1.0
    mode: Mode = "none"

    def gain_after(self, nonlinearity: Nonlinearity | None) -> float:
        """The gain of a layer that reads this activation."""
        if self.gain != "forward":
            return self.gain
        return 1.0 if nonlinearity is None else forward_gain(nonlinearity)

    def scale(self, fan_in: int, fan_out: int, nonlinearity: Nonlinearity | None = None) -> float:
        """gain / √fan: the standard deviation of what is drawn (the value of a constant)."""
        fan = {
            "none": 1.0,
            "fan_in": fan_in,
            "fan_out": fan_out,
            "average": (fan_in + fan_out) / 2,
        }[self.mode]
        return self.gain_after(nonlinearity) / math.sqrt(fan)


ZERO = Rule("constant", 0.0)
ONE = Rule("constant", 1.0)
STANDARD_NORMAL = Rule("normal")


@dataclass(frozen=True)
class Scheme:
    """A start by rules: one for each role, with a name, a line on it and its source.

    `scale_residual` divides what a residual branch adds by √(2 · branches), as GPT-2 does.
    `dataclasses.replace(scheme, output=Rule("normal", 0.01))` makes a variant.
    """

    name: str
    summary: str
    source: str
    hidden: Rule
    output: Rule
    bias: Rule = ZERO
    output_bias: Rule = ZERO
    embedding: Rule = STANDARD_NORMAL
    scale_residual: bool = False

    def __call__(self, network: Any, key: Any) -> "Mapping[str, Any]":
        """Parameters for a network: float32 arrays by name, from a JAX random key."""
        from fanin.starts.draw import draw

        return draw(self, network, key)

    def rule(self, parameter: "Parameter") -> Rule:
        """The rule for a declared parameter."""
        return {
            "embedding": self.embedding,
            "hidden": self.hidden,
            "residual": self.hidden,
            "output": self.output,
            "bias": self.bias,
            "output bias": self.output_bias,
            "normalisation gain": ONE,
            "normalisation bias": ZERO,
        }[parameter.role]

    def scale(self, parameter: "Parameter", nonlinearity: Nonlinearity | None) -> float:
        """The standard deviation (of a constant: the value) that this scheme gives a parameter.

        `nonlinearity` is what stands before the parameter's layer.
        """
        scale = self.rule(parameter).scale(parameter.fan_in, parameter.fan_out, nonlinearity)
        if self.scale_residual and parameter.branches:
            scale /= math.sqrt(2 * parameter.branches)
        return scale
