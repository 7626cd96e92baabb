"""Units that are copies of each other, and random numbers that were used twice."""

from fanin.diagnosis.case import Case
from fanin.diagnosis.recording import Layer
from fanin.diagnosis.report import Check, worst


def symmetry(case: Case) -> Check:
    """Units, or symbols of an embedding, with the same weights.

    The output layer is left out: a zero output learns at once, since what it reads differs.
    """
    limit = case.thresholds.twins
    copied = {
        layer.name: (sum(map(len, groups)) - len(groups)) / max(1, _rows(layer))
        for layer in case.layers.values()
        if layer.weight is not None and layer.role != "output" and not _fills(case, layer)
        # What can be gone round may begin as zeros, as long as it does not stay so.
        for groups in [_lasting(case, layer) if layer.name in case.aside else layer.copies]
    }
    bad = [name for name, share in copied.items() if limit.verdict(share) != "good"]
    text = "No two units of a layer have the same weights."
    if bad:
        text = " ".join(_sentence(case.layers[name]) for name in bad)
    return Check(
        name="symmetry",
        verdict=worst(limit.verdict(share) for share in copied.values()),
        value=max(copied.values(), default=0.0),
        expected=0.0,
        low=None,
        high=0.0,
        layers=case.in_order(bad),
        text=text,
        source="Goodfellow et al. 2016, Deep Learning, section 8.4",
    )


def streams(case: Case) -> Check:
    """Two parameters drawn with one seed or key."""
    shared = case.recording.shared_streams
    at_fault = {case.owners[name].name for pair in shared for name in (pair.first, pair.second)}
    text = "No two parameters come from the same random numbers."
    if shared:
        pairs = "; ".join(
            f"{pair.first} and {pair.second} (correlation {pair.correlation:.3f} over the first "
            f"{pair.length} numbers)"
            for pair in shared[:4]
        )
        more = f"; and {len(shared) - 4} more pairs" if len(shared) > 4 else ""
        text = f"One seed or key was used twice, or one layer copied: {pairs}{more}."
    return Check(
        name="streams",
        verdict="suspect" if shared else "good",
        value=max((abs(pair.correlation) for pair in shared), default=0.0),
        expected=0.0,
        low=None,
        high=0.9,
        layers=case.in_order(at_fault),
        text=text,
        source="layers drawn from one stream are not independent, which every gain assumes",
    )


def _fills(case: Case, layer: Layer) -> bool:
    """Whether an embedding of zeros learns: each symbol has the gradient of where it stands."""
    own = case.parameters.get(layer.weight or "")
    if layer.kind != "embedding" or own is None or own.gradient is None:
        return False
    return own.data.largest == 0.0 and bool(own.gradient.largest)


def _lasting(case: Case, layer: Layer) -> tuple[tuple[int, ...], ...]:
    """Units with equal weights and gradients, unless the gradient has yet to reach the layer.

    Behind a weight of zeros that learns, a zero head for one, it is zero for one step; before units
    that are all dead it says nothing of this layer. Equal weights that are not zeros are not a way
    to start.
    """
    weight = case.parameters.get(layer.weight or "")
    if weight is not None and layer.weight_second_moment:
        return layer.copies
    if weight is None or weight.gradient is None or weight.gradient.largest != 0.0:
        return layer.twins
    opening = (
        own.data.largest == 0.0 and own.gradient is not None and own.gradient.largest
        for each in _barring(case, layer)
        for own in each.parameters
        if "bias" not in own.role
    )
    dead = any(layer.name in case.ancestors(name) for name in case.shut)
    return () if dead or any(opening) else layer.twins


def _barring(case: Case, layer: Layer) -> list[Layer]:
    """The first layers after one, whatever the way, that a gradient reaches, and what they read
    besides, of which it may be a factor.

    A layer that a gradient reaches is itself what bars it from its weight: its input is zero.
    """
    found: dict[str, Layer] = {}
    waiting = [layer]
    while waiting:
        now = waiting.pop()
        if now.name in found:
            continue
        found[now.name] = now
        if now is not layer and now.gradient is not None and now.gradient.largest:
            continue
        waiting += case.readers(now.name)
    read = {name for each in found.values() if each is not layer for name in each.reads}
    return [case.layers[name] for name in case.in_order(found.keys() | read)]


def _rows(layer: Layer) -> int:
    """How many units (of an embedding: symbols) a layer has."""
    return layer.weight_shape[0] if layer.kind == "embedding" else layer.units


def _sentence(layer: Layer) -> str:
    what = "symbols" if layer.kind == "embedding" else "units"
    count, groups = sum(map(len, layer.copies)), len(layer.copies)
    named = ", ".join(
        " = ".join([*map(str, group[:6]), *["…"] * (len(group) > 6)]) for group in layer.copies[:3]
    )
    text = (
        f"{layer.name}: {count} {what} in {groups} group{'s' * (groups > 1)} have the same weights"
    )
    stays = sum(map(len, layer.twins))
    return f"{text} ({named}{', …' * (groups > 3)})" + (
        f", and {stays} also the same gradients: they will stay one." if stays else "."
    )
