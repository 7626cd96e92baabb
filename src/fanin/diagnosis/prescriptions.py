"""What to change in each layer that a verdict names: which parameter, by how much, why."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from fanin.diagnosis.assembly import gain_of, root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.attention import asked_by
from fanin.diagnosis.checks.finite import owner, too_wide
from fanin.diagnosis.checks.output import (
    WIDEST,
    bias_size,
    factors,
    output_bias_dominates,
    output_size,
    too_large_multiplier,
)
from fanin.diagnosis.checks.units import dead_by_bias, mostly_bias, normalised_bias
from fanin.diagnosis.recording import Layer, Loss, Parameter
from fanin.diagnosis.remaining import OF_DEPTH
from fanin.diagnosis.report import Action, Check, Prescription

OUTPUT_GAIN = 0.1
"""Near-uniform output: logits of a tenth of what the last hidden layer gives, at any width."""

LARGE_BIAS = 0.5
"""Biases of this size (root mean square) add a quarter to a pre-activation's second moment of 1."""

WORTH = 0.05
"""A factor nearer to 1 than this would not be worth a change."""
OPEN = 3.0
"""A gate's bias beyond this, up or down, leaves it a twentieth of its way or less."""

Writer = Callable[[Prescription], str]
"""Writes the code of a prescription for one framework."""


def prescribe(case: Case, checks: Iterable[Check], write: Writer) -> tuple[Prescription, ...]:
    """The changes that the checks ask for, in order of execution; at most one of a kind for each
    parameter, and none for what no verdict names."""
    found: dict[tuple[str, Action, tuple[int, ...]], Prescription] = {}
    wrong = [check for check in checks if check.verdict != "good"]
    dead = {name for check in wrong if check.name == "dead units" for name in check.layers}
    for check in wrong:
        if check.name in OF_DEPTH:  # what is dead is not brought to life by its scale
            layers = tuple(name for name in check.layers if name not in dead)
            check = replace(check, layers=layers)
        for made in _RULES.get(check.name, _nothing)(case, check):
            made = _once_for_all(case, made)
            key = (made.parameter, made.action, made.units)
            if key not in found and any(_overlap(made, each) for each in found.values()):
                continue
            asked = found[key].checks if key in found else ()
            kept = found.get(key, made)
            found[key] = replace(kept, checks=tuple(dict.fromkeys((*asked, check.name))))
    drawn = {p.parameter for p in found.values() if p.action == "draw" and not p.units}
    kept = [p for p in found.values() if p.action == "draw" or p.parameter not in drawn]
    places = {own.name: place for place, own in enumerate(case.recording.parameters)}
    kept.sort(key=lambda p: (places.get(p.parameter, len(places)), _ORDER.index(p.action)))
    return tuple(replace(p, code=write(p)) for p in kept)


def _overlap(one: Prescription, other: Prescription) -> bool:
    """Whether two changes are of one kind to one parameter, for some of its units twice."""
    if (one.parameter, one.action) != (other.parameter, other.action):
        return False
    return not (one.units and other.units) or bool({*one.units} & {*other.units})


def _once_for_all(case: Case, made: Prescription) -> Prescription:
    """A change of a tied parameter under the name of the first, saying whose it is besides."""
    own = case.parameters.get(made.parameter)
    if own is None:
        return made
    first = own.tied_to or own.name
    others = [each.name for each in case.recording.parameters if each.tied_to == first]
    if not others:
        return made
    shared = f"{made.reason} (one array with {', '.join({first, *others} - {made.parameter})})"
    return replace(made, parameter=first, reason=shared)


# A scale that was measured holds for the entries as they are; what is drawn afresh has its own.
_ORDER: tuple[Action, ...] = ("scale", "shuffle", "draw", "zero")


def scale_of(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """A weight or an embedding brought to the scale that keeps second moments."""
    has_weight = layer.weight is not None or layer.part is not None
    if layer.weight_second_moment == 0.0 and has_weight and layer.role != "output":
        return [_drawn(layer, (), check, "weights of 0 let nothing through")]
    if layer.kind == "other":
        return [
            _smaller(layer, own, check) for own in layer.parameters if own.name in case.large_scales
        ]
    if layer.normalisation is not None:
        return _measured_anew(case, layer, check) or _after_normalisation(case, layer, check)
    if layer.weight is None and layer.magnitude is None and layer.part is None:
        return []
    if layer.kind == "recurrent":
        return _opened(layer, check) or _matrices(case, layer, check)
    if layer.kind == "embedding":
        own = layer.activation and layer.activation.second_moment
        if not own or layer.role == "output":
            return []
        size = case.handed_on(layer)
        reason = f"{layer.name} gives numbers of the size {math.sqrt(size):.3g}; layers expect 1"
        return _scaled(layer, 1.0 / math.sqrt(size), "to a root mean square of 1", reason, check)
    wanted = OUTPUT_GAIN if layer.role == "output" else case.wanted_gain(layer)
    if check == "saturation" and layer.role == "output":
        wanted = 1.0  # it is no logits that are squashed
    if not layer.gain or not wanted or not layer.fan_in:
        return []
    if layer.branches:
        wanted /= math.sqrt(2 * layer.branches)
    if (uneven := _uneven(layer, wanted, check)) is not None:
        return uneven
    std = wanted / math.sqrt(layer.fan_in)
    before = layer.nonlinearity_before
    place = "after " + before if before else "on its input"
    if layer.branches:
        place += f", in one of {layer.branches} branches,"
    reason = {
        True: f"near-uniform logits take an output gain of {OUTPUT_GAIN}; it is {layer.gain:.3g}",
        False: f"{place} a gain of {wanted:.4g} keeps second moments; it is {layer.gain:.3g}",
    }[layer.role == "output"]
    target = f"to a standard deviation of {std:.4g} = {wanted:.4g}/√{layer.fan_in}"
    if layer.weight is None:
        target = f"for weights of a standard deviation of {std:.4g} = {wanted:.4g}/√{layer.fan_in}"
    elif layer.factor != 1.0:
        std /= abs(layer.factor)
        by = f"{layer.factor:g} that follows"
        target = f"to {std:.4g} = {wanted:.4g}/√{layer.fan_in}, by the {by}"
    return _scaled(layer, wanted / layer.gain, target, reason, check)


def _smaller(layer: Layer, own: Parameter, check: str) -> Prescription:
    """A scale of what branches add that is itself large."""
    size = root_mean_square(own.data) or 1.0
    reason, target = f"it multiplies what a branch adds by {size:.3g}", "to a root mean square of 1"
    return scale_prescription(own.name, layer, 1 / size, target, reason, (check,))


def _uneven(layer: Layer, wanted: float, check: str) -> list[Prescription] | None:
    """Some units of a projection of several, queries and keys for two, that are too wide brought to
    the others' scale, or drawn again where they are next to nothing."""
    if layer.role == "output" or layer.magnitude is not None:
        return None
    if layer.wide_units and layer.wide_gain and layer.wide_gain > 2 * wanted:
        units, parameter = _own_units(layer, layer.wide_units)
        factor, target = wanted / layer.wide_gain, f"to a gain of {wanted:.4g}"
        reason = f"their gain is {layer.wide_gain:.3g}, and that of others is not"
        return [scale_prescription(parameter, layer, factor, target, reason, (check,), units)]
    if layer.faint_units:
        reason = "their weights are a hundred times smaller than those of others"
        return [_drawn(layer, layer.faint_units, check, reason)]
    return None


def _own_units(layer: Layer, units: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """Units of a layer as those of the parameter that has them, and its name."""
    if layer.weight is None and layer.part is not None:
        name, first = layer.part
        return tuple(first + unit for unit in units), name
    assert layer.weight is not None
    return units, layer.weight


def _matrices(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """The matrices of a recurrent layer that are out of scale, or else its widest one, brought to a
    gain of 1."""
    if zeros := _filled(layer, check):
        return zeros
    gains = {
        own.name: (gain, own.shape[1])
        for own in layer.parameters
        if len(own.shape) == 2 and (gain := gain_of(own.data, own.shape[1]))
    }
    limit = case.thresholds.gain_ratio_elsewhere
    wrong = {name for name, (gain, _) in gains.items() if limit.verdict(gain) != "good"}
    made: list[Prescription] = []
    for name in wrong or gains.keys() & {layer.weight}:
        gain, fan_in = gains[name]
        if abs(math.log(gain)) >= WORTH:
            target = f"to a standard deviation of {fan_in**-0.5:.4g} = 1/√{fan_in}"
            reason = f"a gain of 1 keeps second moments; it is {gain:.3g}"
            made.append(scale_prescription(name, layer, 1 / gain, target, reason, (check,)))
    return made


ANEW = "measured anew on the examples"


def _measured_anew(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """Running statistics, where they are not those of what is normalised."""
    if layer.name not in case.misfits or layer.statistics is None:
        return []
    reason = case.misfit_in_words(layer.name).rstrip(".")
    return [
        _prescription(name, layer, "draw", check, ANEW, reason) for name in layer.statistics.names
    ]


def _after_normalisation(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """After a normalisation its gains and biases make the scale, and no weight before it."""
    made: list[Prescription] = []
    gain, bias = layer.own("normalisation gain"), layer.own("normalisation bias")
    power = gain and gain.data.second_moment
    # In a branch small gains are a way to start.
    small = layer.name not in case.aside and layer.role != "residual"
    if gain is not None and gain.data.largest == 0.0 and small:
        reason = "gains of 0 let nothing through"
        made.append(_prescription(gain.name, layer, "draw", check, "set to 1", reason))
    elif gain is not None and power and (power > (1.0 + WORTH) ** 2 or (small and power < 0.1)):
        size = math.sqrt(power)
        reason = f"{layer.normalisation} normalisation gives 1, times gains of the size {size:.3g}"
        target = "to a root mean square of 1"
        made.append(scale_prescription(gain.name, layer, 1.0 / size, target, reason, (check,)))
    if bias is not None and (bias.data.second_moment or 0.0) > 1.0:
        size = math.sqrt(bias.data.second_moment or 0.0)
        reason = (
            f"{layer.normalisation} normalisation gives 1; biases of the size {size:.3g} say more"
        )
        made.append(_prescription(bias.name, layer, "zero", check, "set to 0", reason))
    return made


def scale_prescription(
    parameter: str,
    layer: Layer,
    factor: float,
    target: str,
    reason: str,
    checks: tuple[str, ...],
    units: tuple[int, ...] = (),
) -> Prescription:
    """A parameter of a layer, or some of its units, multiplied by a number."""
    # The number that is shown is the one that is used.
    factor = float(f"{factor:.4g}")
    of_some = f"of {len(units)} units " if units else ""
    change = f"{of_some}× {factor:g}, {target}"
    made = _prescription(parameter, layer, "scale", "", change, reason, factor, units)
    return replace(made, checks=checks)


def _scaled(
    layer: Layer, factor: float, target: str, reason: str, check: str
) -> list[Prescription]:
    if abs(math.log(factor)) < WORTH:
        return []
    parameter, units = layer.weight or layer.magnitude, ()
    if parameter is None:
        units, parameter = _own_units(layer, tuple(range(layer.units)))
    return [scale_prescription(parameter, layer, factor, target, reason, (check,), units)]


def _prescription(
    parameter: str,
    layer: Layer,
    action: Action,
    check: str,
    change: str,
    reason: str,
    number: float | None = None,
    units: tuple[int, ...] = (),
) -> Prescription:
    return Prescription(
        parameter=parameter,
        layer=layer.name,
        action=action,
        number=number,
        units=units,
        change=change,
        code="",
        reason=reason,
        checks=(check,),
    )


def _nothing(case: Case, check: Check) -> list[Prescription]:
    return []


def _scales(case: Case, check: Check) -> list[Prescription]:
    layers = [case.whole(case.layers[name]) for name in check.layers]
    for layer in [each for each in layers if each.kind == "attention"]:
        reads = (case.whole(case.layers[name]) for name in layer.reads if name in case.layers)
        layers += [each for each in reads if each.faint_units and each not in layers]
    scales = [made for layer in layers for made in scale_of(case, layer, check.name)]
    return scales + [made for layer in layers for made in _large_bias(case, layer, check.name)]


def _narrower(case: Case, check: Check) -> list[Prescription]:
    """The scales of layers that are too wide: none is made wider, or drawn again."""
    made = _scales(case, check)
    return [each for each in made if each.action == "zero" or (each.number or 1.0) < 1.0]


def _inputs(case: Case, check: Check) -> list[Prescription]:
    """Embeddings brought to 1, and tables that are added to the size of what they are added to."""
    made = _scales(case, check)
    for name in check.layers:
        placed = case.drowning.get(name)
        if placed is not None:
            factor, target = placed.beside / placed.size, "to the size of what it is added to"
            reason = f"it is {1 / factor:.3g} times as large as that"
            layer, checks = case.layers[name], (check.name,)
            made.append(scale_prescription(placed.name, layer, factor, target, reason, checks))
    return made


def _looking_about(case: Case, check: Check) -> list[Prescription]:
    """Queries and keys made so narrow, together, that scores differ by 1; what made their input
    wide, by its own rule."""
    made = _narrower(case, check)
    for layer in case.layers.values():
        spread = layer.attention_spread
        if spread is None or case.thresholds.attention.verdict(layer.attention_entropy) == "good":
            continue
        asked = {each.name for each in asked_by(case, layer)} & {*check.layers}
        scales = [each for each in made if each.layer in asked and each.number is not None]
        for each in scales if spread > 1.0 else ():
            target = f"since scores differ by {spread:.3g} over the keys, where 1 is enough"
            factor = min(each.number or 1.0, spread ** (-1 / len(scales)))
            made[made.index(each)] = scale_prescription(
                each.parameter,
                case.layers[each.layer],
                factor,
                target,
                each.reason,
                each.checks,
                each.units,
            )
    return made


def _large_bias(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """A hidden layer's biases set to zero, where scaling its weights alone would leave it wide."""
    if layer.bias is None or layer.role == "output" or layer.normalisation is not None:
        return []
    power = case.parameters[layer.bias].data.second_moment
    if power is None or power < LARGE_BIAS**2:
        return []
    reason = (
        f"biases of the size {math.sqrt(power):.3g} widen what the weights are to bring to 1, the "
        "same for every example"
    )
    return [_prescription(layer.bias, layer, "zero", check, "set to 0", reason)]


def _output(case: Case, check: Check) -> list[Prescription]:
    """Scales, and an output bias set to zero where it is a part of the fault."""
    output, recorded = case.output, case.recording.loss
    if recorded is not None and too_large_multiplier(case, recorded):
        return _cooler(case, recorded, check.name)
    if output is None and recorded is not None:
        return _product_narrower(case, recorded, check)
    made = _scales(case, check)
    if output is None or recorded is None or output.bias is None:
        return made
    if output.name not in check.layers:
        return made
    bias = case.parameters[output.bias].data
    if output_bias_dominates(output, recorded):
        made = [each for each in made if each.layer != output.name]
    size = bias_size(recorded, bias)
    if size > 3 * OUTPUT_GAIN:
        what = "favour some classes" if recorded.kind == "cross_entropy" else "say much"
        reason = f"biases of the size {size:.3g} {what} before any example asks"
        made.append(_prescription(output.bias, output, "zero", check.name, "set to 0", reason))
    return made


def _cooler(case: Case, recorded: Loss, check: str) -> list[Prescription]:
    """A parameter that multiplies the output, as it is or as the logarithm of what does."""
    own, by = case.parameters[recorded.multiplier or ""], recorded.multiplied_by
    value = own.data.mean
    if not by or not value:
        return []
    down = WIDEST / output_size(recorded)
    ways = {value: down, 1 / value: 1 / down}
    if abs(value) < 80.0:
        ways |= {math.exp(value): 1 + math.log(down) / value}
        ways |= {math.exp(-value): 1 - math.log(down) / value}
    factor = next((f for made, f in ways.items() if math.isclose(made, by, rel_tol=1e-3)), None)
    if factor is None:
        return []
    layer = next(x for x in case.layers.values() if own in x.parameters)
    target = f"for an output that is multiplied by {abs(by) * down:.3g}"
    reason = f"the output is multiplied by {by:.3g}, which makes it too wide"
    return [scale_prescription(own.name, layer, factor, target, reason, (check,))]


def _product_narrower(case: Case, recorded: Loss, check: Check) -> list[Prescription]:
    """Of an output that is a product of layers each of these as much narrower; other layers that
    are too wide by their own rule."""
    ends, size = {each.name for each in factors(case)}, output_size(recorded)
    if size <= WIDEST or not ends & {*check.layers}:
        return _scales(case, check)
    largest = max(root_mean_square(case.layers[name].activation) or 0.0 for name in ends)
    if size <= 1.5 * largest:
        return _scales(case, check)
    factor, reason = (WIDEST / size) ** 0.5, f"the output is a product of the size {size:.3g}"
    made = [
        each
        for name in check.layers
        if name not in ends
        for each in scale_of(case, case.whole(case.layers[name]), check.name)
    ]
    for layer in (case.whole(case.layers[name]) for name in check.layers if name in ends):
        gain = layer.own("normalisation gain")
        name = gain.name if gain is not None else layer.weight or layer.magnitude
        if name is not None and not (layer.normalisation and gain is None):
            target = "for a product of the size 1"
            made.append(scale_prescription(name, layer, factor, target, reason, (check.name,)))
    return made


def _dead(case: Case, check: Check) -> list[Prescription]:
    """Biases that hold units dead are set to zero; what is dead otherwise is drawn again."""
    made: list[Prescription] = []
    for name in check.layers:
        layer = case.layers[name]
        if name in case.misfits:
            made += _measured_anew(case, layer, check.name)
            continue
        units, shift = dead_by_bias(layer), normalised_bias(layer)
        closed = [own for own in layer.parameters if own.data.largest == 0.0]
        gain = next((own.name for own in closed if own.role == "normalisation gain"), None)
        # In a branch that can be gone round gains of 0 are a way to start.
        if shift is not None and layer.name in case.aside:
            gain = None
        if gain is not None:
            reason = "gains of 0 let nothing through"
            made.append(_prescription(gain, layer, "draw", check.name, "set to 1", reason))
        elif any(own.name == layer.weight for own in closed):
            made.append(_drawn(layer, (), check.name, "weights of 0 let nothing through"))
        elif shift is not None:
            some = layer.dead_units if len(layer.dead_units) <= layer.units // 2 else ()
            change = f"of {len(some)} units set to 0" if some else "set to 0"
            reason = f"after {layer.normalisation} normalisation it is these that hold units flat"
            made.append(_prescription(shift, layer, "zero", check.name, change, reason, units=some))
        elif layer.bias and (units or mostly_bias(case, layer)):
            some = units if len(units) <= layer.units // 2 else ()
            change = f"of {len(some)} units set to 0" if some else "set to 0"
            reason = "these biases hold their units where the activation is flat"
            bias = layer.bias
            made.append(_prescription(bias, layer, "zero", check.name, change, reason, units=some))
        elif layer.kind == "recurrent":
            made += _opened(layer, check.name) + _filled(layer, check.name)
        elif layer.kind == "activation":
            made += _lifted(case, layer, check.name)
        elif (layer.weight or layer.part) and layer.dead_units:
            made.append(_drawn(layer, layer.dead_units, check.name, "their units are dead"))
    return made


def _lifted(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """The units of the layer before an activation that hold it where it is flat: their biases set
    to zero, or their weights drawn again."""
    before = case.read(layer)
    dead = tuple(layer.first_unit + unit for unit in layer.dead_units)
    if before is None or before.weight is None or max(dead, default=0) >= before.units:
        return []
    bias = case.parameters.get(before.bias or "")
    if bias is None or (bias.data.largest or 0.0) <= OPEN:
        return [_drawn(before, dead, check, f"they hold units of {layer.name} flat")]
    change = f"of {len(dead)} units set to 0" if len(dead) < before.units else "set to 0"
    reason = f"these biases hold units of {layer.name} where it is flat"
    some = dead if len(dead) < before.units else ()
    return [_prescription(bias.name, before, "zero", check, change, reason, units=some)]


def _opened(layer: Layer, check: str) -> list[Prescription]:
    """The biases that shut the gates of a recurrent layer set to zero."""
    shutting = [
        own.name
        for own in layer.parameters
        if len(own.shape) == 1 and (own.data.largest or 0.0) > OPEN
    ]
    reason = "so large a bias shuts its gate"
    return [_prescription(name, layer, "zero", check, "set to 0", reason) for name in shutting]


def _filled(layer: Layer, check: str) -> list[Prescription]:
    """The matrices of a recurrent layer that are all zeros drawn again."""
    zeros = [own for own in layer.parameters if len(own.shape) == 2 and own.data.largest == 0.0]
    reason = "weights of 0 let nothing through"
    return [_prescription(x.name, layer, "draw", check, "drawn again", reason) for x in zeros]


def _symmetry(case: Case, check: Check) -> list[Prescription]:
    made: list[Prescription] = []
    for name in check.layers:
        layer = case.layers[name]
        copies = tuple(sorted(unit for group in layer.copies for unit in group[1:]))
        made.append(_drawn(layer, copies, check.name, "units with equal weights compute the same"))
    return made


def _drawn(layer: Layer, units: tuple[int, ...], check: str, reason: str) -> Prescription:
    """Some units' weights drawn again; all of them where hardly one is left as it is."""
    rows = layer.weight_shape[0] if layer.kind == "embedding" else layer.units
    some = units if len(units) < rows - 1 else ()
    if layer.weight is None:
        some = some or tuple(range(rows))
    some, parameter = _own_units(layer, some)
    if any(own.name == parameter and own.data.largest == 0.0 for own in layer.parameters):
        some = ()
    what = f"of {len(some)} units drawn again" if some else "drawn again"
    # A constant that multiplies what it gives is made up for, where that is all its own.
    number = None if some or layer.factor == 1.0 else float(f"{1 / abs(layer.factor):.4g}")
    return _prescription(parameter, layer, "draw", check, what, reason, number, some)


def _streams(case: Case, check: Check) -> list[Prescription]:
    owners = {own.name: layer for layer in case.layers.values() for own in layer.parameters}
    made: dict[str, Prescription] = {}
    for pair in case.recording.shared_streams:
        if pair.first in made:
            continue  # with the first of three shuffled, the pair of the other two is left
        reason = f"it has the same random numbers as {pair.first}"
        made[pair.second] = _prescription(
            pair.second, owners[pair.second], "shuffle", check.name, "its entries shuffled", reason
        )
    return list(made.values())


def _finite(case: Case, check: Check) -> list[Prescription]:
    """What is not finite cannot be scaled: drawn again."""
    reason = "it has values that are not finite"
    made = [
        _drawn(layer, (), check.name, reason)
        if own.name == layer.weight
        else _prescription(own.name, layer, "draw", check.name, "drawn again", reason)
        for layer in case.layers.values()
        for own in layer.parameters
        if not own.data.finite
    ]
    first = case.recording.not_finite
    for name in (first.place, *first.also) if first is not None else ():
        layer = owner(case, name)
        if layer is not None and name not in case.parameters and name != layer.name:
            made.append(_prescription(name, layer, "draw", check.name, ANEW, reason))
    if made:
        return made
    named = case.layers[check.layers[0]] if check.layers else case.output
    scales = [each for layer in too_wide(case, named) for each in scale_of(case, layer, check.name)]
    return [each for each in scales if each.number is None or each.number < 1.0]


_RULES: dict[str, Callable[[Case, Check], list[Prescription]]] = {
    "finite": _finite,
    "loss": _output,
    "logits": _output,
    "saturation": _narrower,
    "gain": _scales,
    "input scale": _inputs,
    "running statistics": _scales,
    "attention": _looking_about,
    "stream": _narrower,
    "gradients": _scales,
    "examples": _scales,
    "dead units": _dead,
    "symmetry": _symmetry,
    "streams": _streams,
    "updates": _scales,
    "first step": _narrower,
}
