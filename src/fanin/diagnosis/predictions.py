"""What theory expects of each layer: from the network's input on, and from what stood before it.

Where a measured moment leaves the prediction from the input and keeps to the one from the layer
before, the layer is the victim of an earlier one; where it leaves the latter too, its own weights
are not as independent random weights are.
"""

import math
from collections.abc import Callable, Mapping

from scipy import special

from fanin.diagnosis.recording import Layer, Number, Recording
from fanin.diagnosis.report import LayerPrediction, Prediction
from fanin.diagnosis.sending import Reached, Sent, measured_signal, parts_of, send
from fanin.theory import Nonlinearity, NoTheory, Signal


def predict(
    recording: Recording, nonlinearities: Mapping[str, Nonlinearity]
) -> tuple[LayerPrediction, ...]:
    """The predictions for every layer, in order of execution.

    `nonlinearities` has the activations by the names that the recording knows them under; a layer
    with another one has no theory.
    """
    layers = {layer.name: layer for layer in recording.layers}
    reached: dict[str, Reached] = {}
    predictions: list[LayerPrediction] = []
    for layer in recording.layers:
        reads = [layers[name] for name in layer.reads if name in layers]
        before = reads[0].between if reads else None
        parts = parts_of(layer, nonlinearities)
        from_input = send(layer, parts, [reached[each.name] for each in reads], None, before)
        ahead = send(
            layer,
            parts,
            [Reached(measured_signal(each.activation, each.between)) for each in reads],
            Reached(measured_signal(layer.preactivation, layer.preactivation_between, True)),
            before,
        )
        reached[layer.name] = from_input.activation
        if layer.kind == "embedding":
            # Which symbols come together is the data's affair: theory begins at what they gave.
            reached[layer.name] = Reached(measured_signal(layer.activation, layer.between))
        predictions.append(_prediction(layer, from_input, ahead))
    return tuple(predictions)


def _prediction(layer: Layer, from_input: Sent, ahead: Sent) -> LayerPrediction:
    def second(signal: Signal) -> float:
        return signal.second_moment

    return LayerPrediction(
        layer=layer.name,
        preactivation=_both(from_input.preactivation, ahead.preactivation, second),
        activation=_both(from_input.activation, ahead.activation, second),
        # The standard deviation's logarithm moves half as far as the second moment's.
        activation_std=_both(from_input.activation, ahead.activation, lambda s: s.std, 0.5),
        correlation=_both(from_input.activation, ahead.activation, lambda s: s.correlation, None),
        saturated_share=_saturated_share(layer, from_input.judged, ahead.judged),
        gradient_growth=_growth(from_input, ahead),
    )


def _both(
    from_input: Reached,
    ahead: Reached,
    number: Callable[[Signal], Number],
    scale: float | None = 1.0,
) -> Prediction:
    """One number of two signals; `scale` times the deviation of ln second moment is its spread."""
    one, other = from_input.signal, ahead.signal
    return Prediction(
        from_input=None if isinstance(one, NoTheory) else _plain(number(one)),
        ahead=None if isinstance(other, NoTheory) else _plain(number(other)),
        spread_from_input=_spread(from_input, scale),
        spread_ahead=_spread(ahead, scale),
        no_theory=one.reason if isinstance(one, NoTheory) else "",
    )


def _plain(number: Number) -> Number:
    """Not one of NumPy's, which msgspec does not write, and finite."""
    return None if number is None or not math.isfinite(number) else float(number)


def _spread(reached: Reached, scale: float | None) -> Number:
    if scale is None or isinstance(reached.signal, NoTheory):
        return None
    return scale * math.sqrt(reached.variance)


def _saturated_share(layer: Layer, from_input: Reached, ahead: Reached) -> Prediction:
    if layer.saturation is None:
        return Prediction(no_theory="its activation has no flat end")
    low, high = layer.saturation.low, layer.saturation.high

    def share(signal: Signal) -> float:
        root = math.sqrt(signal.second_moment)
        if root == 0.0:
            return float(low is not None and low >= 0.0) + float(high is not None and high <= 0.0)
        below = 0.0 if low is None else float(special.ndtr(low / root))
        return below + (0.0 if high is None else float(special.ndtr(-high / root)))

    return _both(from_input, ahead, share, None)


def _growth(from_input: Sent, ahead: Sent) -> Prediction:
    one, other = from_input.chi, ahead.chi
    return Prediction(
        from_input=None if isinstance(one, NoTheory) else _plain(one),
        ahead=None if isinstance(other, NoTheory) else _plain(other),
        spread_from_input=math.sqrt(from_input.chi_variance),
        spread_ahead=math.sqrt(ahead.chi_variance),
        no_theory=one.reason if isinstance(one, NoTheory) else "",
    )
