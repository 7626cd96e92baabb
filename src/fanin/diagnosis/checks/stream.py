"""How a residual stream grows over the depth."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.checks.blame import blame
from fanin.diagnosis.report import Check


def stream(case: Case) -> Check | None:
    """The second moment of the stream at its last sum over that at its first."""
    sums = [layer for layer in case.trunk if layer.kind == "sum"]
    moments = [layer.preactivation and layer.preactivation.second_moment for layer in sums]
    if len(sums) < 3 or not moments[0] or moments[-1] is None:
        return None
    limit, growth = case.thresholds.stream, moments[-1] / moments[0]
    verdict = limit.verdict(growth)
    text = (
        f"Over {len(sums)} sums, from {sums[0].name} to {sums[-1].name}, the second moment of the "
        f"residual stream is multiplied by {growth:.3g}."
    )
    at_fault: tuple[str, ...] = ()
    if verdict != "good":
        text += (
            " What the branches add grows with what they read: they want a normalisation, or their "
            f"last weights a factor of 1/√{len(sums)}."
        )
        branches = [
            layer for layer in case.layers.values() if layer.branches and layer.weight is not None
        ]
        shares = {layer.name: case.added(layer) or 0.0 for layer in branches}
        at_fault = case.in_order(blame({name: s for name, s in shares.items() if s > 0.0}))
    return Check(
        name="stream",
        verdict=verdict,
        value=growth,
        expected=None,
        low=None,
        high=limit.high,
        layers=at_fault,
        text=text,
        source="Radford et al. 2019, GPT-2, section 2.3: 1/√N on what N residual layers add",
    )
