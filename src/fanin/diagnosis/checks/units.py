"""Units that pass next to no gradient: saturated ones and dead ones."""

import numpy as np

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import blame
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, Verdict, worst
from fanin.diagnosis.ways import INPUT

FEW, ROWS = 64, 1024
"""On fewer examples, unless they make so many rows (examples × places, where the places of one
example are alike), only a layer that is dead as a whole is said to be."""


def saturation(case: Case) -> Check | None:
    """The largest share of saturated outputs of any layer with a bounded activation."""
    shares = {
        layer.name: _share(case, layer)
        for layer in case.layers.values()
        if _bounded(layer) and not _of_input(layer)
    }
    if not shares:
        return None
    limit = case.thresholds.saturation
    bad = [name for name, share in shares.items() if limit.verdict(share) != "good"]
    worst_layer = max(shares, key=shares.__getitem__)
    causes = [cause for name in bad for cause in causes_of_width(case, case.layers[name])]
    text = f"At most {shares[worst_layer]:.1%} of a layer's outputs are saturated ({worst_layer})."
    if bad:
        text = (
            f"{shares[worst_layer]:.1%} of the outputs of {worst_layer} are saturated (entries of "
            f"example × unit, {_which_ends(case.layers[worst_layer])}) and pass next to no gradient"
            f"{_others(case, bad, worst_layer)}.{case.reasons(causes)}"
        )
    return Check(
        name="saturation",
        verdict=worst(limit.verdict(share) for share in shares.values()),
        value=shares[worst_layer],
        expected=_predicted(case, worst_layer),
        low=None,
        high=limit.high,
        layers=case.in_order(causes),
        text=text,
        source="Glorot and Bengio 2010, section 3; |tanh| > 0.97, where the slope is below 0.06",
    )


def dead_units(case: Case) -> Check | None:
    """The largest share of units at a flat end, or zero, for every example."""
    layers = [
        layer
        for layer in case.layers.values()
        if (layer.saturation is not None and not _of_input(layer))
        or (layer.kind == "recurrent" and (layer.dead_units or layer.starved or layer.held))
    ]
    if not layers:
        return None
    limit = case.thresholds.dead
    shares = {
        layer.name: 1.0
        if layer.starved or layer.held
        else len(layer.dead_units) / max(1, layer.units)
        for layer in layers
    }
    by_bias = {layer.name: dead_by_bias(layer) for layer in layers}
    verdicts: dict[str, Verdict] = {
        name: worst(
            (
                limit.verdict(share if share > 0.95 or not _few(case, case.layers[name]) else 0.0),
                "suspect" if by_bias[name] and not _few(case, case.layers[name]) else "good",
            )
        )
        for name, share in shares.items()
        if not _reads_one_example(case, case.layers[name], share)
    }
    bad = [name for name, verdict in verdicts.items() if verdict != "good"]
    named = [name for name in bad if by_bias[name]] or _first_dead(case, bad)
    at_fault = [cause for name in named for cause in shifted_by(case, case.layers[name])]
    worst_layer = max(shares, key=lambda name: (name in named, shares[name]))
    layer = case.layers[worst_layer]
    text = f"At most {shares[worst_layer]:.1%} of a layer's units are dead ({worst_layer})."
    if bad and layer.held and not layer.dead_units:
        text = (
            f"Biases hold the {' and the '.join(layer.held)} of {worst_layer}: it learns nothing."
        )
    elif bad and layer.starved and not layer.dead_units:
        text = (
            f"Next to no gradient reaches {', '.join(layer.starved)}: shut gates of {worst_layer} "
            "let next to nothing through."
        )
    elif bad:
        count = len(layer.dead_units)
        text = (
            f"{count} of {layer.units} units of {worst_layer} are dead: for all "
            f"{case.recording.examples:,} examples "
        )
        text += (
            "shut gates let next to nothing out"
            if layer.kind == "recurrent"
            else "they stand where the activation is flat"
        )
        if by_bias[worst_layer]:
            text += f"; {len(by_bias[worst_layer])} of them by their bias alone"
        elif bad and worst_layer not in at_fault:
            text += f", where the biases of {case.listed(at_fault)} put them"
        text += "."
    return Check(
        name="dead units",
        verdict=worst(verdicts.values()),
        value=shares[worst_layer],
        expected=0.0,
        low=None,
        high=limit.high,
        layers=case.caused(case.in_order(at_fault)),
        text=text,
        source="judged on all recorded examples: on few, healthy units look dead by chance",
    )


def _share(case: Case, layer: Layer) -> float:
    """Of the outputs at flat ends; those that are exactly zero are relu's way, and count as dead
    units where there are too many."""
    assert layer.saturation is not None
    low, known = layer.saturation.low, case.nonlinearities.get(layer.nonlinearity or "")
    if low is not None and known is not None and known.values(np.array([low - 1.0]))[0] == 0.0:
        return layer.saturation.high_share
    return layer.saturation.share


def _which_ends(layer: Layer) -> str:
    assert layer.saturation is not None
    low, high = layer.saturation.low_share, layer.saturation.high_share
    if min(low, high) > 0.05 * (low + high):
        return "at both ends"
    return "at the upper end" if high > low else "at the lower end"


def causes_of_width(case: Case, layer: Layer) -> list[str]:
    """The layers that made a layer's pre-activations so wide."""
    if layer.normalisation is not None:
        return [layer.name]
    before = case.upstream(layer)
    # A bounded activation hands on no more than its bound, whatever came before it.
    cut = max(
        (place for place, each in enumerate(before[:-1]) if _bounded(each)),
        default=-1,
    )
    return blame(case.shares(before[cut + 1 :]) or {layer.name: 1})


def dead_by_bias(layer: Layer) -> tuple[int, ...]:
    """Dead units whose bias outweighs all that their weighted sums ever do."""
    return tuple(sorted(set(layer.dead_units) & set(layer.outlying_biases)))


def mostly_bias(case: Case, layer: Layer) -> bool:
    """Whether the biases make up more than half of the pre-activations' power."""
    if layer.bias is None or layer.preactivation is None:
        return False
    own, whole = case.parameters[layer.bias].data.second_moment, layer.preactivation.second_moment
    return own is not None and whole is not None and own > 0.5 * whole


def normalised_bias(layer: Layer) -> str | None:
    """The bias of a layer's normalisation, where it outweighs deviations of 1 for some unit.

    What comes out of a normalisation stands on both sides of 0, whatever its weights are.
    """
    biases = (own for own in layer.parameters if own.role == "normalisation bias")
    return next((own.name for own in biases if (own.data.largest or 0.0) > 1.0), None)


def shifted_by(case: Case, layer: Layer) -> list[str]:
    """Of a sum that has no biases of its own, or an activation of one, the summands whose biases
    put it where it is."""
    before = case.read(layer)
    if layer.kind == "activation" and before is not None and before.kind == "sum":
        return [name for name in shifted_by(case, before) if name != before.name] or [layer.name]
    if layer.kind != "sum":
        return [layer.name]
    return [each.name for each in _summands(case, layer) if _shifts(case, each)] or [layer.name]


def _summands(case: Case, layer: Layer) -> list[Layer]:
    """What a sum is of, those of sums that go into it among them."""
    read = [case.layers[name] for name in layer.reads if name in case.layers]
    plain = [each for each in read if each.kind == "sum" and each.nonlinearity is None]
    return [each for each in read if each not in plain] + [
        part for each in plain for part in _summands(case, each)
    ]


def _shifts(case: Case, layer: Layer) -> bool:
    return mostly_bias(case, layer) or normalised_bias(layer) is not None


def _of_input(layer: Layer) -> bool:
    """Whether it squashes what the network is given, a mask maybe, and no layer's doing."""
    return layer.kind == "activation" and layer.reads == (INPUT,)


def _bounded(layer: Layer) -> bool:
    return layer.saturation is not None and layer.saturation.bounded


def _reads_one_example(case: Case, layer: Layer, dead: float) -> bool:
    """Whether a layer's examples had become one, but for length, before it.

    Each unit then says the same to all of them, and about half are dead by chance; next to all of
    them are only where nothing at all varies before it.
    """
    own, limit = layer.preactivation_between, case.thresholds.varying_share
    share = None if own is None or layer.normalisation is not None else own.varying_share
    if dead <= 0.95 and limit.verdict(share) != "good":
        return True
    before = case.read(layer)
    if before is None:
        return (case.same_inputs or case.faint_input) and dead <= 0.95
    if before.between is None:
        return False
    if dead > 0.95 and before.between.varying_share:
        return False
    if any(len(group) == each.units for each in case.upstream(before) for group in each.copies):
        return True
    share, alike = before.between.varying_share, before.between.squared_correlation
    if share is None or case.thresholds.varying_share.verdict(share) != "good":
        return True
    return alike is not None and alike > 0.97


def _few(case: Case, layer: Layer) -> bool:
    """Whether so few rows were measured that units are dead by chance."""
    rows = (layer.activation.size if layer.activation else 0) / max(1, layer.units)
    return rows < FEW or (case.recording.examples < FEW and rows < ROWS)


def _first_dead(case: Case, bad: list[str]) -> list[str]:
    """A layer that is wholly dead kills those after it, which are not named."""
    for name in case.in_order(bad):
        if len(case.layers[name].dead_units) == case.layers[name].units:
            return [name]
    return bad


def _others(case: Case, bad: list[str], named: str) -> str:
    others = [name for name in bad if name != named]
    return f"; so with {case.listed(others)}" if others else ""


def _predicted(case: Case, name: str) -> float | None:
    prediction = next(each for each in case.predictions if each.layer == name)
    return prediction.saturated_share.from_input
