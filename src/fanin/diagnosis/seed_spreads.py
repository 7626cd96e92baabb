"""How far chance, another seed, moves what is measured of a layer: from its report alone.

To first order in 1/width, and rather too much than too little; a test holds it against reports of
many seeds. Theory's own spreads are used where the report has them.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from fanin.diagnosis.document import LayerDocument, ReportDocument
from fanin.diagnosis.recording import Number

# What stays at any width, as in `fanin.diagnosis.spreads`.
FLOOR = 0.01
# Of ln of the gradient in the network's output, which depends on what the logits happen to be.
_OUTPUT_GRADIENT = 0.03
# Gradients share the gates of the forward pass, which theory's factors count as independent.
_SHARED_GATES = 2.0
# By which the targets' frequencies and the logits' means come together, in logits' deviations.
_TARGETS = 0.15


@dataclass(frozen=True)
class Spread:
    """One number with its standard deviation over seeds: of its logarithm, if `relative`."""

    value: float
    deviation: float
    relative: bool


def spreads(document: ReportDocument) -> dict[tuple[str, str], Spread]:
    """What a comparison looks at, by layer and the name of the number; "" for the whole network."""
    forward, after_activation = _forward(document)
    backward = _backward(document)
    alike: dict[str, float] = {}
    found: dict[tuple[str, str], Spread] = {}

    def add(layer: str, name: str, value: Number, variance: float, relative: bool = True) -> None:
        if value is not None and (value > 0 or not relative):
            found[layer, name] = Spread(value, math.sqrt(variance), relative)

    for layer in document.layers:
        name = layer.name
        read = max((alike.get(each, 0.0) for each in layer.reads), default=0.0)
        alike[name] = read + 1.0 / layer.units
        if layer.weight_std:
            size = math.prod(layer.weight_shape)
            add(name, "weight_std", layer.weight_std, 0.5 / size + FLOOR**2 / 4)
        # The logarithm of a standard deviation moves half as far as that of the second moment.
        add(name, "preactivation_std", layer.preactivation_std, forward[name] / 4)
        add(name, "activation_std", layer.activation_std, after_activation[name] / 4)
        add(name, "gradient_second_moment", layer.gradient_second_moment, backward[name])
        if (c := layer.example_correlation) is not None:
            slope = max(abs(c) * (1.0 - c), 2 * FLOOR**2)
            add(name, "example_correlation", c, slope**2 * alike[name], relative=False)
        if layer.saturation is not None:
            share, variance = _saturation(layer, forward[name])
            add(name, "saturated_share", share, variance, relative=False)
        if layer.nonlinearity is not None:
            count = float(len(layer.dead_units))
            add(name, "dead_units", count, max(count, 1.0), relative=False)
    if document.loss is not None:
        last = max(after_activation.values(), default=0.0)
        add("", "loss", document.loss, _loss(document, last), relative=False)
    return found


def _forward(document: ReportDocument) -> tuple[dict[str, float], dict[str, float]]:
    """Variances of ln second moment, of the pre-activations and of what layers hand on.

    Theory takes what the embedding gave as it is, and another seed gives another embedding: its own
    variance goes along up to the next normalisation.
    """
    given: dict[str, float] = {}
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for layer in document.layers:
        inherited = max((given[each] for each in layer.reads if each in given), default=0.0)
        own = _directions(layer)
        theory = layer.predicted
        spread = theory and theory.preactivation.spread_from_input
        read = max((after[each] for each in layer.reads if each in after), default=0.0)
        if spread is not None:
            before[layer.name] = spread**2 + inherited
        else:
            before[layer.name] = read + (own if layer.weight is not None else 0.0)
        given[layer.name] = inherited if layer.kind != "embedding" else own
        if layer.normalisation is not None:
            given[layer.name], after[layer.name] = 0.0, own
        else:
            spread = theory and theory.activation_std.spread_from_input
            wide = 0.0 if spread is None else 4 * spread**2 + inherited
            after[layer.name] = max(before[layer.name], wide)
    return before, after


def _directions(layer: LayerDocument) -> float:
    """Of ln second moment over new weights: an average over examples that are so much alike."""
    between = layer.preactivation_between or layer.between
    alike = between and between.squared_correlation
    return 2.0 * (1.0 if alike is None else alike) / layer.units + FLOOR**2


def _backward(document: ReportDocument) -> dict[str, float]:
    """Variances of ln of the gradient's second moment, from the output back."""
    found: dict[str, float] = {}
    readers: dict[str, list[LayerDocument]] = {}
    for layer in document.layers:
        for name in layer.reads:
            readers.setdefault(name, []).append(layer)
    for layer in reversed(document.layers):
        variance = _OUTPUT_GRADIENT**2
        for reader in readers.get(layer.name, []):
            growth = reader.predicted and reader.predicted.gradient_growth
            spread = growth.spread_from_input if growth and not growth.no_theory else None
            own = 2.0 / layer.units + FLOOR**2 if spread is None else spread**2
            above = found.get(reader.name, _OUTPUT_GRADIENT**2)
            variance = max(variance, above + _SHARED_GATES * own)
        found[layer.name] = variance
    return found


def _saturation(layer: LayerDocument, forward: float) -> tuple[float, float]:
    """The share of entries at the flat ends, and its variance."""
    saturation = layer.saturation
    assert saturation is not None
    judged = layer.normalised or layer.preactivation
    root = math.sqrt((judged and judged.second_moment) or 0.0)
    ends = [end for end in (saturation.low, saturation.high) if end is not None]
    # How the tails of a normal distribution move with the logarithm of its second moment.
    moves = sum(0.5 * abs(end / root) * NormalDist().pdf(end / root) for end in ends if root > 0.0)
    share = saturation.share
    between = layer.between
    alike = (between and between.squared_correlation) or 1.0
    gates = share * (1.0 - share) * alike / layer.units
    return share, moves**2 * forward + gates + (FLOOR / 10) ** 2


def _loss(document: ReportDocument, last: float) -> float:
    """The variance of the loss: its excess goes with the logits' size, the rest with chance."""
    loss, output = document.loss or 0.0, document.output
    excess = abs(loss - (document.expected_loss or 0.0))
    width = (output and output.output.std) or 0.0
    return (_TARGETS * width) ** 2 + last * excess**2 + FLOOR**2 / 100


def deviations(one: Spread, other: Spread) -> float:
    """How many standard deviations lie between the numbers of two seeds, these being the two."""
    apart = one.value - other.value
    if one.relative:
        apart = math.log(one.value / other.value)
    return abs(apart) / math.hypot(one.deviation, other.deviation) if apart else 0.0
