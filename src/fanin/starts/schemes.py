"""A scheme: how to fill a network's declared parameters, as data that can be copied and changed."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fanin.errors import OptionError
from fanin.theory.fixed_points import critical
from fanin.theory.gains import forward_gain
from fanin.theory.nonlinearity import Nonlinearity, NoTheory

if TYPE_CHECKING:
    from fanin.networks.declarations import Parameter

Distribution = Literal["normal", "uniform", "orthogonal", "constant"]
Mode = Literal["none", "fan_in", "fan_out", "average"]
Gain = float | Literal["forward", "critical"]


@dataclass(frozen=True)
class Rule:
    """How one role's parameters are drawn.

    The standard deviation is gain / √fan, with the fan that `mode` names ("average" is that of
    fan-in and fan-out; "none" divides by nothing). A gain of "forward" is the exact one of the
    activation before the layer, 1/√E[f(z)²]; "critical" is the one at the edge of chaos for the
    biases' variance; both are 1 where there is no activation. "uniform" spreads evenly over ±√3
    standard deviations; "orthogonal" scales an orthogonal matrix by the gain alone; "constant"
    puts the gain itself in every place. Raises OptionError for a fan with one of these two.
    """

    distribution: Distribution
    gain: Gain = 1.0
    mode: Mode = "none"

    def __post_init__(self) -> None:
        for setting, found, known in (
            ("distribution", self.distribution, get_args(Distribution)),
            ("mode", self.mode, get_args(Mode)),
        ):
            if found not in known:
                near = difflib.get_close_matches(str(found), known, 1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise OptionError(
                    f"a rule's {setting} {found!r} is not known{hint} There are {', '.join(known)}"
                )
        gain: Any = self.gain
        number = isinstance(gain, int | float | np.number) and math.isfinite(gain)
        signed = self.distribution == "constant"
        if gain not in ("forward", "critical") and not (number and (signed or gain >= 0)):
            raise OptionError(
                f"a rule's gain is a number from 0 up, forward or critical; found {gain!r}"
            )
        if self.distribution in ("orthogonal", "constant") and self.mode != "none":
            raise OptionError(
                f"a rule that draws {self.distribution} is scaled by its gain alone; "
                f"leave out mode={self.mode!r}"
            )

    def gain_after(self, nonlinearity: Nonlinearity | None, bias_variance: float = 0.0) -> float:
        """The gain of a layer that reads this activation.

        Raises OptionError where it should be critical and no weights are.
        """
        if not isinstance(self.gain, str):
            return self.gain
        if nonlinearity is None:
            return 1.0
        if self.gain == "forward":
            return forward_gain(nonlinearity)
        pair = critical(nonlinearity, bias_variance)
        if isinstance(pair, NoTheory):
            raise OptionError(
                f"a critical gain: {pair.reason}; another bias variance, or gain=forward, would do"
            )
        return math.sqrt(pair.weight_variance)

    def scale(
        self,
        fan_in: int,
        fan_out: int,
        nonlinearity: Nonlinearity | None = None,
        bias_variance: float = 0.0,
    ) -> float:
        """gain / √fan: the standard deviation of what is drawn (the value of a constant)."""
        fan = {
            "none": 1.0,
            "fan_in": fan_in,
            "fan_out": fan_out,
            "average": (fan_in + fan_out) / 2,
        }[self.mode]
        return self.gain_after(nonlinearity, bias_variance) / math.sqrt(fan)


@dataclass(frozen=True)
class MadeFor:
    """The network that a scheme was made for: the name of its activation, and its normalisation."""

    activation: str
    normalisation: Literal["batch", "layer"] | None = None

    @property
    def text(self) -> str:
        """In words: "gelu and layer normalisation"."""
        return f"{self.activation} and {self.normalisation or 'no'} normalisation"


ZERO = Rule("constant", 0.0)
ONE = Rule("constant", 1.0)
STANDARD_NORMAL = Rule("normal")


@dataclass(frozen=True)
class Scheme:
    """A start by rules: one for each role, with a name, a line on it and its source.

    `scale_residual` divides what a residual branch adds by √(2 · branches), as GPT-2 does.
    `unit_preactivations` goes on from what was drawn: layer by layer the hidden weights are scaled
    until what they give has a unit second moment on a batch of contexts. `made_for` changes nothing
    in what is drawn: `mismatch` tells where a network is another one.
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
    unit_preactivations: bool = False
    made_for: MadeFor | None = None

    def __post_init__(self) -> None:
        for role in ("hidden", "output", "bias", "output_bias", "embedding"):
            found: Any = getattr(self, role)
            if not isinstance(found, Rule):
                raise OptionError(
                    f"the start {self.name}: {role} is a Rule, Rule('normal', 0.01) say; "
                    f"found {found!r}"
                )

    def __call__(self, network: Any, key: Any, contexts: Any = None) -> "Mapping[str, Any]":
        """Parameters for a network: float32 arrays by name, from a JAX random key.

        `contexts`, (examples, block), are what a scheme with `unit_preactivations` measures on;
        the others do without. Raises OptionError where they are missing, or the network's
        activation does not let the scheme have its way.
        """
        import jax

        from fanin.starts.data_driven import scale_to_unit
        from fanin.starts.draw import draw

        if not (isinstance(key, jax.Array) and (key.ndim == 0 or key.dtype == "uint32")):
            raise OptionError(
                f"the start {self.name} draws from a JAX random key; found {key!r}. "
                "jax.random.key(0) would do"
            )
        parameters = draw(self, network, key)
        if not self.unit_preactivations:
            return parameters
        if contexts is None or len(contexts) == 0:
            raise OptionError(
                f"the start {self.name} measures the network on examples, and found none; give it "
                "training contexts: scheme(network, key, contexts)"
            )
        return scale_to_unit(self, network, parameters, key, contexts)

    def mismatch(self, network: Any) -> str:
        """A sentence where the network is not what the scheme was made for; empty otherwise.

        That can be told of a network that has an activation and a normalisation.
        """
        wanted = self.made_for
        if wanted is None or not hasattr(network, "activation"):
            return ""
        from fanin.networks.activations import activation_name

        found = MadeFor(activation_name(network.activation), network.normalisation)
        if found == wanted:
            return ""
        return (
            f"the start {self.name} was made for {wanted.text}, and this network has {found.text}"
        )

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
        """The standard deviation that this scheme gives a parameter.

        Of a constant it is the value, of an orthogonal matrix the factor. `nonlinearity` is what
        stands before the parameter's layer.
        """
        return self.scale_by(
            self.rule(parameter),
            parameter.fan_in,
            parameter.fan_out,
            nonlinearity,
            parameter.branches,
        )

    def scale_by(
        self,
        rule: Rule,
        fan_in: int,
        fan_out: int,
        nonlinearity: Nonlinearity | None,
        branches: int,
    ) -> float:
        """The same by what a parameter is, whoever declares it; `rule` is the one for its role."""
        bias_variance = self.bias.scale(fan_in, fan_out) ** 2
        scale = rule.scale(fan_in, fan_out, nonlinearity, bias_variance)
        return scale * self.factor_of_branches(branches)

    def branch_factor(self, parameter: "Parameter") -> float:
        """1/√(2 · branches) where residual branches are scaled and this is part of one."""
        return self.factor_of_branches(parameter.branches)

    def factor_of_branches(self, branches: int) -> float:
        return 1 / math.sqrt(2 * branches) if self.scale_residual and branches else 1.0
