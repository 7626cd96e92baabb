"""What adds up over depth: gradients that vanish or explode, examples that become one."""

import math
from itertools import pairwise

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import blame
from fanin.diagnosis.checks.units import shifted_by
from fanin.diagnosis.recording import Between, Layer
from fanin.diagnosis.report import Check
from fanin.diagnosis.ways import INPUT
from fanin.theory import TheoryError, forward_gain
from fanin.theory import slope as theoretical_slope

# In the place of the logarithm of a ratio to zero.
NOTHING_LEFT = 50.0


def gradients(case: Case) -> Check | None:
    """The gradient's squared length at the first layer of the trunk over that at the last."""
    product = gradient_product(case)
    ends = first_and_last(case)
    if product is None or ends is None:
        return None
    first, last = ends
    limit = case.thresholds.gradient_product
    if not case.plain:
        limit = case.thresholds.gradient_product_elsewhere
    small_scales = case.small_scales if product < 1.0 else []
    verdict = "good" if small_scales else limit.verdict(product)
    at_fault: tuple[str, ...] = ()
    between = layers_between(case, first, last)
    if verdict != "good":
        at_fault = case.in_order(blame(_shares(case, 1.0 if product > 1.0 else -1.0)))
        if case.collapsed is not None:
            at_fault = (case.collapsed.name,)
        at_fault = case.caused(at_fault)
    steps = max(1, len(case.trunk) - 1)
    text = (
        f"From {last.name} back to {first.name} the gradient's second moment is multiplied by "
        f"{product:.3g}, {product ** (1 / steps):.3g} a layer."
    )
    if verdict != "good":
        text += (
            f" The first layers learn {'next to nothing' if verdict == 'bad' else 'little'}"
            if product < 1
            else " The first layers are thrown about"
        )
        text += f" while the last ones learn.{_why(case, between, at_fault)}"
    elif limit.verdict(product) != "good":
        text += _of_small_scales(small_scales)
    return Check(
        name="gradients",
        verdict=verdict,
        value=product,
        expected=_predicted_product(case, between),
        low=limit.low,
        high=limit.high,
        layers=at_fault,
        text=text,
        source="Schoenholz et al. 2017, Deep Information Propagation, section 4",
    )


def gradient_product(case: Case) -> float | None:
    """The gradient's second moment at the first layer of the trunk over that at the last.

    Of one example, over all units and places together: that is what passes unchanged where layers
    narrow or widen, and pictures shrink.
    """
    ends = first_and_last(case)
    if ends is None:
        return None
    below, above = (case.slope(end) for end in ends)
    return below / above if above and below is not None else None


def _shares(case: Case, sign: float) -> dict[str, float]:
    """By how much, in ln, each layer of the trunk, or a branch before it, adds to the product."""
    shares: dict[str, float] = {}
    for before, after in pairwise(case.trunk):
        below, above = case.slope(before), case.slope(after)
        if not above or below is None:
            continue
        share = sign * math.log(below / above) if below else NOTHING_LEFT
        shares[_at_fault(case, before, after)] = share
    return shares


def _at_fault(case: Case, before: Layer, after: Layer) -> str:
    """The layer itself; where that is a sum, the one in its branch that adds most."""
    gain = before.own("normalisation gain")
    power = gain and gain.data.second_moment
    if after.normalisation is not None and power and not 0.1 < power < 10.0:
        return before.name  # by which a normalisation divides again
    if after.weight is not None or after.kind != "sum":
        return after.name
    branch = [
        layer
        for layer in case.layers.values()
        if layer.role == "residual"
        and case.order[before.name] < case.order[layer.name] < case.order[after.name]
    ]
    most = max(branch, key=lambda layer: abs(case.excess(layer)), default=after)
    return most.name


def examples(case: Case) -> Check | None:
    """Whether different examples are still different where the output layers read them."""
    found = [
        (share, last, between)
        for output in case.outputs
        if (last := case.read(output)) is not None
        and not case.of_one(last)
        and (between := output.input_between or last.between) is not None
        and (share := _share_of(last, between)) is not None
    ]
    if not found:
        return None
    share, last, between = min(found, key=lambda each: each[0])
    limit = case.thresholds.varying_share
    if not case.plain:
        limit = case.thresholds.varying_share_elsewhere
    verdict = "good" if case.small_scales else limit.verdict(share)
    at_fault: tuple[str, ...] = ()
    causes: list[str] = []
    if verdict != "good":
        on_the_way = {last.name, *case.ancestors(last.name)}
        losses = {
            layer.name: lost
            for layer in case.layers.values()
            if layer.name in on_the_way
            and (lost := _lost_difference(case, layer)) is not None
            and lost > 0.0
        }
        for name in [*losses]:
            table = _small_table(case, name)
            if table is not None:
                losses[table.name] = losses.pop(name)
        if case.faint_input:
            causes = [INPUT]
        elif case.collapsed is not None:
            causes = [case.collapsed.name]
        else:
            causes = blame(losses)
        at_fault = () if case.same_inputs else case.caused(case.in_order(causes))
        at_fault = case.in_order(
            [each for name in at_fault for each in shifted_by(case, case.layers[name])]
        )
    correlation = between.correlation
    text = f"{share:.2%} of the power of {last.name} varies over the examples"
    text += "." if correlation is None else f" (mean correlation {correlation:.3g})."
    if verdict != "good":
        text += (
            " The inputs themselves are all the same: diagnose on examples that differ."
            if case.same_inputs
            else " To the output layer, different inputs have become one."
        )
        if not case.same_inputs:
            text += case.reasons(causes)
    elif limit.verdict(share) != "good":
        text += _of_small_scales(case.small_scales)
    return Check(
        name="examples",
        verdict=verdict,
        value=share,
        expected=1.0,
        low=limit.low,
        high=None,
        layers=at_fault,
        text=text,
        source="Poole et al. 2016, section 3: correlations that go to 1 in the ordered phase",
    )


def _of_small_scales(names: list[str]) -> str:
    return f" That is the way of small branch scales, {names[0]} for one."


def _small_table(case: Case, name: str) -> Layer | None:
    """The embedding that a layer reads, if what that gives is so small that biases drown it."""
    before = case.read(case.layers[name])
    if before is None or before.kind != "embedding" or case.layers[name].normalisation:
        return None
    small = case.thresholds.input_scale.low or 0.0
    return before if math.sqrt(case.handed_on(before)) < small else None


def _share_of(layer: Layer, between: Between) -> float | None:
    """The share that varies; none of it where a layer gives nothing at all."""
    nothing = layer.activation is not None and layer.activation.second_moment == 0.0
    return 0.0 if nothing else between.varying_share


def first_and_last(case: Case) -> tuple[Layer, Layer] | None:
    """The first and last layers of the trunk, where there are two."""
    trunk = case.trunk
    return (trunk[0], trunk[-1]) if len(trunk) > 1 else None


def layers_between(case: Case, first: Layer, last: Layer) -> list[Layer]:
    """The layers whose growth makes up the product: those after the first, up to the last."""
    low, high = case.order[first.name], case.order[last.name]
    return [layer for name, layer in case.layers.items() if low < case.order[name] <= high]


def _lost_difference(case: Case, layer: Layer) -> float | None:
    """By how much, in ln, a layer lowered the share of power that varies."""
    before = case.read(layer)
    given = layer.input_between or (before.between if before is not None else None)
    if given is None and INPUT in layer.reads:
        given = case.recording.input_between
    was = given and given.varying_share
    now = layer.between and layer.between.varying_share
    if not was or now is None:
        return None
    return math.log(was / now) if now > 0 else NOTHING_LEFT


def _predicted_product(case: Case, between: list[Layer]) -> float | None:
    """By theory; the growth of second moments becomes that of lengths by the sizes' ratio."""
    product = 1.0
    for layer in between:
        prediction = next(each for each in case.predictions if each.layer == layer.name)
        growth, before = prediction.gradient_growth.from_input, case.read(layer)
        if growth is None or before is None or case.growth(layer) is None:
            return None
        product *= growth * (before.units * before.places) / (layer.units * layer.places)
    return product


def _why(case: Case, between: list[Layer], at_fault: tuple[str, ...]) -> str:
    """What theory says of moments that run away by themselves, where no layer alone is at fault."""
    if len(at_fault) < 2:
        return ""
    names = {layer.nonlinearity for layer in between if layer.normalisation is None}
    if len(names) != 1 or (name := names.pop()) not in case.nonlinearities or name is None:
        return ""
    gains = [layer.gain for layer in between if layer.gain is not None]
    if not gains:
        return ""
    variance = sorted(gains)[len(gains) // 2] ** 2
    q = next((e.preactivation.second_moment for e in between if e.preactivation), None)
    try:
        known = case.nonlinearities[name]
        slope = theoretical_slope(known, variance, q or 1.0)
        # With relu or tanh it is above 1 for too large a gain alone.
        at_best = theoretical_slope(known, forward_gain(known) ** 2, 1.0)
    except TheoryError:
        return ""
    if min(slope, at_best) <= 1.001:
        return ""
    return (
        f" With {name} the second moment's own map has the slope {slope:.4g} here: above 1, so "
        "deviations grow from layer to layer whatever the gain."
    )
