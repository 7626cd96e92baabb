"""Weights and embeddings that are out of scale, whatever that does downstream."""

import math

from fanin.diagnosis.assembly import matrix_gains, root_mean_square
from fanin.diagnosis.case import Case
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, Verdict, worst
from fanin.diagnosis.ways import INPUT


def gain(case: Case) -> Check | None:
    """Each weight's gain against the one that keeps second moments.

    Before a normalisation a weight's size means nothing, and what makes scores for a softmax is the
    attention check's. A layer that widens has a smaller gain by every scheme that looks at its
    fan-out, and is allowed that.
    """
    limit = case.thresholds.gain_ratio
    if not case.plain:
        limit = case.thresholds.gain_ratio_elsewhere
    ratios = {
        layer.name: ratio
        for layer in case.hidden
        if not case.absorbed(layer)
        and not _constant(case, layer)
        and not _makes_scores(case, layer)
        and (ratio := _ratio(case, layer)) is not None
        and not (ratio > 1.0 and _gives_frequencies(layer))
    }
    of_outputs = {
        each.name: each.gain * _made_smaller(case, each) for each in case.outputs if each.gain
    }
    verdicts: dict[str, Verdict] = {name: limit.verdict(ratio) for name, ratio in ratios.items()}
    verdicts |= {name: case.thresholds.output_gain.verdict(own) for name, own in of_outputs.items()}
    if not verdicts:
        return None
    at_fault = [name for name, verdict in verdicts.items() if verdict != "good"]
    widest = max(of_outputs, key=of_outputs.__getitem__, default="")
    text, value, told = "", of_outputs.get(widest), case.thresholds.output_gain
    if ratios:
        furthest = max(ratios, key=lambda name: abs(math.log(max(ratios[name], 1e-30))))
        text, value, told = _beside_wanted(case, furthest), ratios[furthest], limit
    if not ratios:
        text = f"The weights of {widest} have a gain of {of_outputs[widest]:.3g}"
        text += ", where 1 is already large." if widest in at_fault else "."
    elif widest in at_fault:
        text += f"Those of {widest} have one of {of_outputs[widest]:.3g}, where 1 is already large."
    if len(at_fault) > 1:
        text = f"{text.strip()} Out of scale are {len(at_fault)} layers: {case.listed(at_fault)}."
    return Check(
        name="gain",
        verdict=worst(verdicts.values()),
        value=value,
        expected=1.0,
        low=told.low,
        high=told.high,
        layers=case.in_order(at_fault),
        text=text.strip(),
        source="He et al. 2015, section 2.2, with the gain of any activation by quadrature",
    )


def _made_smaller(case: Case, layer: Layer) -> float:
    """How small the input of a layer is made just before it: by 1/√width as some transformers do,
    or to a length of 1; to a hidden layer beside what the layer before gave."""
    apart = layer.input_between is not None  # from what the layer before gave
    given = root_mean_square(layer.input)
    if not apart or not given or len(layer.reads) != 1 or layer.reads == (INPUT,):
        return 1.0
    before = case.read(layer)
    was = root_mean_square(before and before.activation) if layer.role != "output" else 1.0
    return min(1.0, given / was) if was else 1.0


def _beside_wanted(case: Case, name: str) -> str:
    layer = case.layers[name]
    wanted = case.wanted_gain(layer)
    after = f"after {layer.nonlinearity_before}" if layer.nonlinearity_before else "on its input"
    return (
        f"The weights of {name} have a gain of {layer.gain:.3g}; {after}, {wanted:.3g} keeps "
        "second moments. "
    )


def _makes_scores(case: Case, layer: Layer) -> bool:
    """Whether a softmax makes attention of just what it gives, as of keys times queries that are
    parameters: what is too wide there shows in the attention's entropy."""
    readers = case.readers(layer.name)
    return bool(readers) and all(
        each.kind == "attention" and {*each.reads} - {*each.values} == {layer.name}
        for each in readers
    )


def _gives_frequencies(layer: Layer) -> bool:
    """Whether its weights are frequencies of the input, which are as high as they are meant to be
    (Sitzmann et al. 2020, *Implicit Neural Representations with Periodic Activation Functions*)."""
    return layer.nonlinearity == "sin" and layer.reads == ("",)


def input_scale(case: Case) -> Check | None:
    """The scale of what embeddings, and the network's inputs, give to layers that do not normalise
    it."""
    limit = case.thresholds.input_scale
    sizes = {
        layer.name: math.sqrt(layer.activation.second_moment)
        for layer in case.layers.values()
        if layer.kind == "embedding"
        and layer.role != "output"
        and layer.normalisation is None
        and layer.activation is not None
        and layer.activation.second_moment is not None
        and any(reader.normalisation is None for reader in case.readers(layer.name))
    }
    # Small embeddings are a way to start, but for layers whose biases say more.
    verdicts: dict[str, Verdict] = {
        name: worst((limit.verdict(max(1.0, size)), limit.verdict(_beside_biases(case, name))))
        for name, size in sizes.items()
    }
    for name, each in case.drowning.items():
        sizes[name] = each.size / each.beside
        verdicts[name] = case.thresholds.placed.verdict(sizes[name])
    if case.input_size is not None:
        sizes[INPUT] = case.input_size
        verdicts[INPUT] = limit.verdict(case.input_size)
    if not sizes:
        return None
    told = max(sizes, key=sizes.__getitem__)
    verdict = worst(verdicts.values())
    if verdicts[told] != verdict:
        told = next(name for name, each in reversed(verdicts.items()) if each == verdict)
    size = sizes[told]
    text = f"{told} gives numbers of the size {size:.3g} (root mean square)."
    if verdict != "good" and size < 1.0:
        text += " The biases of the layers that read it drown it."
    if told in case.drowning:
        placed = case.drowning[told]
        text = (
            f"{placed.name} is added to what comes of the inputs, and is {size:.3g} times as large "
            f"({placed.size:.3g} to {placed.beside:.3g}): they are lost in it."
        )
    if told == INPUT:
        text = (
            "What the network is given keeps to a size of 1, or its first weights make up for it."
        )
        if verdict != "good":
            how = f"{size:.3g} times too large" if size > 1 else f"{1 / size:.3g} times too small"
            text = f"What the network is given is {how} for its weights.{case.reasons([INPUT])}"
    return Check(
        name="input scale",
        verdict=verdict,
        value=size,
        expected=1.0,
        low=limit.low if told == INPUT else None,
        high=limit.high,
        layers=case.in_order([name for name, each in verdicts.items() if each != "good"]),
        text=text,
        source="every gain takes an input of second moment 1: LeCun et al. 1998, section 4.3",
    )


def _beside_biases(case: Case, name: str) -> float | None:
    """What recurrent layers make of an embedding, beside their biases; 1 where it is more.

    None where it is not these alone that read it.
    """
    readers = case.readers(name)
    size = root_mean_square(case.layers[name].activation)
    if not size or not readers or any(each.kind != "recurrent" for each in readers):
        return None
    found: list[float] = []
    for each in (case.whole(reader) for reader in readers):
        gain = next(iter(matrix_gains(each, "weight_ih").values()), 0.0)
        biases = [
            root_mean_square(own.data) or 0.0 for own in each.parameters if "bias" in own.name
        ]
        found.append(size * (gain or 1.0) / max(*biases, 1e-30) if biases else 1.0)
    return min(1.0, max(found))


def _constant(case: Case, layer: Layer) -> bool:
    """Whether all its weights are one number, or all its units copies of one, which is another
    fault than that of scale, if it is any: channels are averaged so one by one. Zeros are of no
    scale where there is a way round them."""
    if any(len(group) == layer.units for group in layer.copies):
        return True
    zero = layer.weight_second_moment == 0.0
    return layer.weight_std == 0.0 and (layer.name in case.aside or not zero)


def _narrowest(layer: Layer) -> float:
    """Of a recurrent layer the smallest gain of a matrix that its inputs are multiplied by."""
    if layer.kind != "recurrent":
        return 1.0
    return min(matrix_gains(layer, "weight_ih").values(), default=1.0)


def _ratio(case: Case, layer: Layer) -> float | None:
    ratio = case.gain_ratio(layer)
    low = case.thresholds.gain_ratio_elsewhere.low
    if ratio is not None and (narrowest := _narrowest(layer)) < (low or 0.0):
        ratio = narrowest
    if ratio is None or ratio >= 1.0:
        return ratio and max(1.0, ratio * _made_smaller(case, layer))
    power = layer.weight_second_moment
    if power and layer.weight_std:  # the mean of weights that average, as of a softmax, passes on
        ratio *= math.sqrt(power) / (layer.weight_std * abs(layer.factor))
    given = case.recording.input and case.recording.input.second_moment
    if layer.reads == (INPUT,) and given:
        ratio *= max(1.0, math.sqrt(given))  # smaller by what the inputs are larger
    if layer.role == "residual":
        return 1.0  # small branches are a way to start residual networks, not a fault
    widening = math.sqrt((layer.fan_in or 1) / (layer.fan_out or 1))
    return min(1.0, ratio / min(1.0, widening))  # allowed to be smaller, and not asked to be
