"""What to change in a recurrent layer: matrices out of scale, gates that biases shut."""

import math

from fanin.diagnosis.assembly import matrix_gains
from fanin.diagnosis.case import Case
from fanin.diagnosis.prescriptions.changes import WORTH, prescription, scale_prescription
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Prescription

OPEN = 3.0
"""A gate's bias beyond this, up or down, leaves it a twentieth of its way or less."""


def matrices(case: Case, layer: Layer, check: str) -> list[Prescription]:
    """The matrices of a recurrent layer that are out of scale, or else its widest one, brought to a
    gain of 1."""
    if zeros := filled(layer, check):
        return zeros
    gains = {name: gain for name, gain in matrix_gains(layer).items() if gain}
    limit = case.thresholds.gain_ratio_elsewhere
    wrong = [name for name, gain in gains.items() if limit.verdict(gain) != "good"]
    made: list[Prescription] = []
    for name in wrong or gains.keys() & {layer.weight}:
        gain, fan_in = gains[name], case.parameters[name].shape[1]
        if abs(math.log(gain)) >= WORTH:
            target = f"to a standard deviation of {fan_in**-0.5:.4g} = 1/√{fan_in}"
            reason = f"a gain of 1 keeps second moments; it is {gain:.3g}"
            made.append(scale_prescription(name, layer, 1 / gain, target, reason, (check,)))
    return made


def opened(layer: Layer, check: str) -> list[Prescription]:
    """The biases that shut the gates of a recurrent layer set to zero."""
    shutting = [
        own.name
        for own in layer.parameters
        if len(own.shape) == 1 and (own.data.largest or 0.0) > OPEN
    ]
    reason = "so large a bias shuts its gate"
    return [prescription(name, layer, "zero", check, "set to 0", reason) for name in shutting]


def filled(layer: Layer, check: str) -> list[Prescription]:
    """The matrices of a recurrent layer that are all zeros drawn again."""
    zeros = [own for own in layer.parameters if len(own.shape) == 2 and own.data.largest == 0.0]
    reason = "weights of 0 let nothing through"
    return [prescription(x.name, layer, "draw", check, "drawn again", reason) for x in zeros]
