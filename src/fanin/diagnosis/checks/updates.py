"""The size of the first update beside what it changes."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.report import Check, worst


def updates(case: Case) -> Check | None:
    """The largest first update of a weight, over the weight.

    The output layer is left out: near-uniform logits take small weights, which then grow fast.
    """
    limit = case.thresholds.update
    shares = {
        layer.name: own.update_to_data
        for layer in case.layers.values()
        if layer.role != "output"
        for own in layer.parameters
        if own.name == layer.weight and own.update_to_data is not None
    }
    if not shares:
        return None
    largest = max(shares, key=shares.__getitem__)
    bad = [name for name, share in shares.items() if limit.verdict(share) != "good"]
    text = (
        f"The first step changes {largest} by {10 ** shares[largest]:.2g} of its size (log10 "
        f"{shares[largest]:.1f})"
    )
    rate = case.recording.learning_rate
    text += "." if rate is None else f", at the learning rate {rate:g}."
    return Check(
        name="updates",
        verdict=worst(limit.verdict(share) for share in shares.values()),
        value=shares[largest],
        expected=-3.0,
        low=None,
        high=limit.high,
        layers=case.in_order(bad),
        text=text,
        source="makemore, part 3: about -3 is customary",
    )
