"""What else to do where gradients vanish or explode over depth: the ways out, in order."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fanin.diagnosis.activated import Activated
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.depth import first_and_last, gradient_product
from fanin.diagnosis.report import Choice
from fanin.theory import (
    Linear,
    Nonlinearity,
    Normalise,
    NoTheory,
    Part,
    Residual,
    Signal,
    TheoryError,
    critical,
    forward_gain,
    propagate,
)

OUTSIDE = (0.1, 10.0)
"""Products of the gradients' growth outside which the ways out are shown."""

ChoiceWriter = Callable[[str], str]
"""Writes the code of the way out of that name for one framework."""


def choices(
    case: Case, write: ChoiceWriter, options: Mapping[str, str] | None = None
) -> tuple[Choice, ...]:
    """Normalisation, residual layers, orthogonal weights, the edge of chaos: with their moments."""
    product, ends = gradient_product(case), first_and_last(case)
    if product is None or ends is None or OUTSIDE[0] <= product <= OUTSIDE[1]:
        return ()
    if not case.plain:
        return ()  # their moments would be those of a stack that it is not
    name = ends[1].nonlinearity or ends[1].nonlinearity_before
    if name is None or name not in case.nonlinearities:
        return ()
    return tuple(_ways_out(case, case.nonlinearities[name], write, options or {}))


Layers = list[list[Part]]
"""The parts of each hidden layer but the first."""


@dataclass(frozen=True)
class _Way:
    name: str
    change: str
    text: str
    parts: Callable[[Nonlinearity, int], Layers]


def _plain(variance: float, nonlinearity: Nonlinearity, depth: int) -> Layers:
    return [[Linear(variance), Activated(nonlinearity)]] * (depth - 1)


def _normalised(kind: Literal["batch", "layer"], nonlinearity: Nonlinearity, depth: int) -> Layers:
    variance = forward_gain(nonlinearity) ** 2
    return [[Linear(variance), Normalise(kind), Activated(nonlinearity)]] * (depth - 1)


def _residual(nonlinearity: Nonlinearity, depth: int) -> Layers:
    variance = forward_gain(nonlinearity) ** 2
    scale = 1.0 / math.sqrt(2 * (depth - 1))
    branch = (Normalise("layer"), Activated(nonlinearity), Linear(variance))
    return [[Residual(branch, scale)]] * (depth - 1)


def _critical(nonlinearity: Nonlinearity, depth: int) -> Layers:
    pair = critical(nonlinearity)
    if isinstance(pair, NoTheory):
        raise TheoryError(pair.reason)
    return _plain(pair.weight_variance, nonlinearity, depth)


_NORMALISATIONS = tuple(
    _Way(
        f"{kind} normalisation",
        f'normalisation="{kind}" in the network',
        "Normalisation takes the scale out of the weights' hands.",
        partial(_normalised, kind),
    )
    for kind in ("batch", "layer")
)
_OTHERS = (
    _Way(
        "residual",
        'residual=True and normalisation="layer" in the network',
        "Residual layers hand the gradient on past each branch.",
        _residual,
    ),
    _Way(
        "orthogonal",
        "the start orthogonal:gain=critical,output=0.1",
        "Orthogonal weights have the moments of the edge of chaos without the wandering of finite "
        "width, for each direction alike.",
        _critical,
    ),
    _Way(
        "critical",
        "the start critical",
        "The edge of chaos: the gradient keeps its size; activations may still shrink slowly.",
        _critical,
    ),
)


def _ways_out(
    case: Case, nonlinearity: Nonlinearity, write: ChoiceWriter, options: Mapping[str, str]
) -> list[Choice]:
    """All that theory has numbers for and says to help; of the normalisations the one that suits
    gradients best."""
    depth, first = len(case.hidden), case.hidden[0]
    # The first layer starts afresh too, with a second moment of 1; how alike examples are to it
    # comes from the data.
    apart = first.preactivation_between and first.preactivation_between.varying_share
    stream = Signal(1.0, 0.0, apart, gaussian=True)
    activated = propagate([Activated(nonlinearity)], stream)[-1].output
    made: list[Choice] = []
    for way in (*_NORMALISATIONS, *_OTHERS):
        signal = stream if way.name == "residual" else activated
        if isinstance(signal, NoTheory):
            continue
        try:
            last, product = _send(way.parts(nonlinearity, depth), signal)
        except TheoryError:
            continue
        made.append(
            Choice(
                name=way.name,
                change=way.change,
                code=write(way.name),
                options=options.get(way.name, ""),
                activation_second_moment=last and float(last.second_moment),
                gradient_product=product,
                correlation=None
                if last is None or last.correlation is None
                else float(last.correlation),
                text=way.text,
            )
        )
    limit = case.thresholds.gradient_product
    helps = [each for each in made if limit.verdict(each.gradient_product) == "good"]
    made = helps or made  # where moments run away, the edge of chaos is no place to stay
    normalised = [each for each in made if each.name.endswith("normalisation")]
    normalised.sort(key=lambda each: abs(math.log(each.gradient_product or 1e-30)))
    return [*normalised[:1], *(each for each in made if each not in normalised)]


def _send(layers: Layers, signal: Signal) -> tuple[Signal | None, float | None]:
    """The last hidden layer's output, and the product of the gradient's growth over the layers."""
    through = propagate([part for layer in layers for part in layer], signal)
    output = through[-1].output if through else signal
    product: float | None = 1.0
    for each in through:
        product = None if isinstance(each.chi, NoTheory) or product is None else product * each.chi
    last = None if isinstance(output, NoTheory) else output
    return last, None if product is None else float(product)
