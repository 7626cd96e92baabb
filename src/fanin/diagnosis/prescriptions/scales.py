"""Layers brought to the scale that keeps second moments."""

import math

from fanin.diagnosis.assembly import root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.attention import asked_by
from fanin.diagnosis.prescriptions.changes import (
    ANEW,
    WORTH,
    drawn,
    own_units,
    prescription,
    scale_prescription,
    scaled,
)
from fanin.diagnosis.prescriptions.recurrent import matrices, opened
from fanin.diagnosis.recording import Layer, Parameter
from fanin.diagnosis.report import Check, Prescription

OUTPUT_GAIN = 0.1
"""Near-uniform output: logits of a tenth of what the last hidden layer gives, at any width."""

LARGE_BIAS = 0.5
"""Biases of this size (root mean square) add a quarter to a pre-activation's second moment of 1."""


def scale_of(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """A weight or an embedding brought to the scale that keeps second moments."""
    has_weight = layer.weight is not None or layer.part is not None
    if layer.weight_second_moment == 0.0 and has_weight and layer.role != "output":
        return [drawn(layer, (), check, "weights of 0 let nothing through")]
    if layer.kind == "other":
        return _tables(case, layer, check) + [
            _smaller(layer, own, check) for own in layer.parameters if own.name in case.large_scales
        ]
    if layer.normalisation is not None:
        return measured_anew(case, layer, check) or _after_normalisation(case, layer, check)
    if layer.weight is None and layer.magnitude is None and layer.part is None:
        return []
    if layer.kind == "recurrent":
        return opened(layer, check) or matrices(case, layer, check)
    if layer.kind == "embedding":
        own = layer.activation and layer.activation.second_moment
        if not own or layer.role == "output":
            return []
        size = case.handed_on(layer)
        reason = f"{layer.name} gives numbers of the size {math.sqrt(size):.3g}; layers expect 1"
        return scaled(layer, 1.0 / math.sqrt(size), "to a root mean square of 1", reason, check)
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
    return scaled(layer, wanted / layer.gain, target, reason, check)


def _tables(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """Tables brought to the size of what they are added to, where they are larger than 1 and it."""
    made: list[Prescription] = []
    for placed in case.tables.get(layer.name, ()):
        if placed.size > max(1.0, placed.beside) or layer.name in case.drowning:
            factor, target = placed.beside / placed.size, "to the size of what it is added to"
            reason = f"it is {1 / factor:.3g} times as large as that"
            made.append(scale_prescription(placed.name, layer, factor, target, reason, (check,)))
    return made


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
        units, parameter = own_units(layer, layer.wide_units)
        factor, target = wanted / layer.wide_gain, f"to a gain of {wanted:.4g}"
        reason = f"their gain is {layer.wide_gain:.3g}, and that of others is not"
        return [scale_prescription(parameter, layer, factor, target, reason, (check,), units)]
    if layer.faint_units:
        reason = "their weights are a hundred times smaller than those of others"
        return [drawn(layer, layer.faint_units, check, reason)]
    return None


def measured_anew(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """Running statistics, where they are not those of what is normalised."""
    if layer.name not in case.misfits or layer.statistics is None:
        return []
    reason = case.misfit_in_words(layer.name).rstrip(".")
    return [
        prescription(name, layer, "draw", check, ANEW, reason) for name in layer.statistics.names
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
        made.append(prescription(gain.name, layer, "draw", check, "set to 1", reason))
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
        made.append(prescription(bias.name, layer, "zero", check, "set to 0", reason))
    return made


def scales(case: Case, check: Check) -> list[Prescription]:
    """All layers that a check names brought to their scale, and biases that would keep them wide
    set to 0."""
    layers = [case.whole(case.layers[name]) for name in check.layers]
    for layer in [each for each in layers if each.kind == "attention"]:
        reads = (case.whole(case.layers[name]) for name in layer.reads if name in case.layers)
        layers += [each for each in reads if each.faint_units and each not in layers]
    made = [each for layer in layers for each in scale_of(case, layer, check.name)]
    return made + [each for layer in layers for each in _large_bias(case, layer, check.name)]


def narrower(case: Case, check: Check) -> list[Prescription]:
    """The scales of layers that are too wide: none is made wider, or drawn again."""
    made = scales(case, check)
    return [each for each in made if each.action == "zero" or (each.number or 1.0) < 1.0]


def looking_about(case: Case, check: Check) -> list[Prescription]:
    """Queries and keys made so narrow, together, that scores differ by 1; what made their input
    wide, by its own rule."""
    made = narrower(case, check)
    for layer in case.layers.values():
        spread = layer.attention_spread
        if spread is None or case.thresholds.attention.verdict(layer.attention_entropy) == "good":
            continue
        asked = {each.name for each in asked_by(case, layer)} & {*check.layers}
        scaled_here = [e for e in made if e.layer in asked and e.number is not None]
        for each in scaled_here if spread > 1.0 else ():
            target = f"since scores differ by {spread:.3g} over the keys, where 1 is enough"
            factor = min(each.number or 1.0, spread ** (-1 / len(scaled_here)))
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
    return [prescription(layer.bias, layer, "zero", check, "set to 0", reason)]
