"""A recording with its predictions, as the checks and prescriptions ask about it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fanin.diagnosis.assembly import matrix_gains
from fanin.diagnosis.predictions import predict
from fanin.diagnosis.recording import Layer, Moments, Number, Placed, Summand
from fanin.diagnosis.report import LayerPrediction
from fanin.diagnosis.thresholds import THRESHOLDS, Thresholds
from fanin.diagnosis.ways import INPUT, Ways
from fanin.theory import Nonlinearity, TheoryError, forward_gain

_SAME = 1e-12
"""Where no more than this share of a layer's power varies over examples, they are one."""
MISFIT = 2.5
"""Running statistics that are so many times off are blamed for what goes wrong after them."""
LARGE_SCALE = 3.0
"""Scales of branches are of this size where they, and no weights, make what is added large."""


@dataclass(frozen=True, eq=False)
class Case(Ways):
    """What is to be judged."""

    nonlinearities: Mapping[str, Nonlinearity]
    thresholds: Thresholds = THRESHOLDS

    @cached_property
    def predictions(self) -> tuple[LayerPrediction, ...]:
        return predict(self.recording, self.nonlinearities)

    @cached_property
    def small_scales(self) -> list[str]:
        """Parameters that scale down what branches add, which is a way to start."""
        return [
            own.name
            for own in self.recording.parameters
            if own.role == "branch scale" and (own.data.largest or 0.0) < 0.2
        ]

    @cached_property
    def drowning(self) -> dict[str, Placed]:
        """The tables that drown what they are added to, by the layers that own them."""
        return {
            name: each
            for name, found in self.tables.items()
            for each in found
            if self.thresholds.placed.verdict(each.size / each.beside) != "good"
        }

    @cached_property
    def tables(self) -> dict[str, list[Placed]]:
        """What adds tables of parameters, as of positions, to what comes of the batch."""
        found: dict[str, list[Placed]] = {}
        for each in self.recording.placed:
            found.setdefault(self.owners[each.name].name, []).append(each)
        return found

    @cached_property
    def large_scales(self) -> dict[str, Layer]:
        """Parameters that make what branches add large by themselves, with the layers that own
        them."""
        return {
            name: self.owners[name]
            for name, own in self.parameters.items()
            if own.role == "branch scale" and (own.data.second_moment or 0.0) > LARGE_SCALE**2
        }

    @property
    def same_inputs(self) -> bool:
        """Whether the network's inputs do not vary over the examples."""
        between = self.recording.input_between
        return between is not None and not between.varying_share

    def wanted_gain(self, layer: Layer) -> Number:
        """The gain that keeps second moments: 1/√E[f(z)²] of the activation before the layer.

        Divided by √(2 · branches) in a residual branch, where plain 1 is as good. None where the
        activation before is not known by its values.
        """
        before = layer.nonlinearity_before
        if before is None:
            return 1.0
        if before not in self.nonlinearities:
            return None
        try:
            return forward_gain(self.nonlinearities[before])
        except TheoryError:
            return None

    def gain_ratio(self, layer: Layer) -> Number:
        """The layer's gain over the wanted one."""
        wanted = self.wanted_gain(layer)
        if layer.gain is None or wanted is None or layer.role not in ("hidden", "residual"):
            return None
        return layer.gain / wanted

    def excess(self, layer: Layer) -> float:
        """How much of its own a layer adds to ln of the second moment: 0 where it keeps to 1.

        For weights, what they made of their input beyond what the activation before asks for; for
        an embedding, its own ln second moment; for the end of a residual branch, what it made the
        stream grow beyond its part.
        """
        after = layer.preactivation and layer.preactivation.second_moment
        if layer.normalisation is not None or layer.kind == "normalisation":
            made = layer.normalised or layer.activation
            after = made and made.second_moment
            return math.log(after) if after else 0.0
        if not after:
            return 0.0
        if layer.branches and (added := self.added(layer)) is not None:
            return added - math.log1p(0.5 / layer.branches)
        return self.made(layer)

    def made(self, layer: Layer) -> float:
        """The same of a layer's weights alone, also at the end of a branch."""
        after = layer.preactivation and layer.preactivation.second_moment
        if not after:
            return 0.0
        if layer.kind == "embedding":
            return math.log(self.handed_on(layer))
        before = self.read(layer)
        given = before and before.activation and before.activation.second_moment
        given = layer.input.second_moment if layer.input is not None else given
        wanted = self.wanted_gain(layer)
        if not given or not wanted or layer.kind in ("sum", "activation", "normalisation"):
            return 0.0
        return math.log(after / (given * wanted**2))

    def handed_on(self, layer: Layer) -> float:
        """The second moment of what an embedding gives, with what it is multiplied by before others
        read it, as √width in some transformers."""
        own = layer.activation and layer.activation.second_moment
        added = [each.beside**2 for each in self.recording.placed if layer.name in each.to]
        if added:  # others read it with a table
            return max(own or 1.0, *added)
        given = [
            each.input.second_moment or 0.0
            for each in self.readers(layer.name)
            if each.input is not None and each.reads == (layer.name,)
        ]
        return max(own or 1.0, *given, 0.0)

    def shares(self, layers: list[Layer]) -> dict[str, float]:
        """What each of some layers adds to ln of the second moment, where that is more than
        nothing; under INPUT what the network's inputs are wider than 1, for those that read them.

        A first layer whose weights are as much narrower has made up for it.
        """
        found = {
            self._scaled_by(each): self.excess(each) for each in layers if not self.misled(each)
        }
        names = {each.name for each in layers}
        for owner, placed in self.tables.items():
            for each in placed:
                if names & {*each.to}:
                    found[owner] = 2 * math.log(max(each.size, 1e-30))
        given = [
            self._first_given[each.name][1] for each in layers if each.name in self._first_given
        ]
        if given:
            found[INPUT] = 2 * math.log(max(given))
        return {name: share for name, share in found.items() if share > 0.0}

    def _scaled_by(self, layer: Layer) -> str:
        """The layer at fault for the size of what a layer gives: itself, or what has a large scale
        by which that is multiplied before it is added."""
        term = self._term(layer)
        scale = term[0].scale if term else None
        return self.large_scales[scale].name if scale in self.large_scales else layer.name

    def _term(self, layer: Layer) -> tuple[Summand, Summand] | None:
        """What a layer gives as a term of the first sum that reads it, and the other term."""
        sums = [each for each in self.readers(layer.name) if each.kind == "sum"]
        terms = self.summands(sums[0]) if sums else ()
        own = [layer.name in each.reads for each in terms]
        if len(terms) != 2 or own.count(True) != 1:
            return None
        return (terms[0], terms[1]) if own[0] else (terms[1], terms[0])

    @cached_property
    def _first_given(self) -> dict[str, tuple[Moments, float]]:
        """What the layers that read the network's inputs, as they are or made of these, are given,
        and how large that is to them: 1 where their weights make up for it.

        None so few of whose numbers are not zero (as one in each row of a table of classes) is
        small.
        """
        found: dict[str, tuple[Moments, float]] = {}
        for layer in self.readers(INPUT):
            own = layer.input or self.recording.input
            if own is None or not own.second_moment or not layer.gain or layer.normalisation:
                continue
            power = math.log(own.second_moment)
            if power > 0.0:
                size = math.exp(max(0.0, power + min(0.0, self._made_of_input(layer))) / 2)
            elif (own.largest or 0.0) > 0.5:
                size = 1.0
            else:  # biases do not make up for what is small: they drown it
                ratio = max(1.0, self.gain_ratio(layer) or 1.0)
                size = min(1.0, math.exp(power / 2) * ratio)
            found[layer.name] = (own, size)
        return found

    def _made_of_input(self, layer: Layer) -> float:
        """By how much, in ln second moment, a first layer is narrower than its input asks for."""
        if layer.kind != "recurrent":
            return self.excess(layer)
        # Gates hold back whatever comes: by the matrices that the input is multiplied by.
        widest = max(matrix_gains(layer, "weight_ih").values(), default=0.0)
        return 2 * math.log(widest) if widest else 0.0

    @property
    def input_size(self) -> Number:
        """How large the network's inputs are to the layer to which they are largest; None where
        that cannot be told."""
        return max((self._first_given[name][1] for name in self._judged), default=None)

    @cached_property
    def _judged(self) -> list[str]:
        """Of the layers that read the network's inputs those that no normalisation follows."""
        return [name for name in self._first_given if not self.absorbed(self.layers[name])]

    @property
    def faint_input(self) -> bool:
        """Whether the network's inputs are so small, or so alike, that biases say more."""
        reading = [self.layers[name].input_between for name in self._judged]
        shares = [each.varying_share for each in reading if each and each.varying_share is not None]
        if not shares and self.recording.input_between is not None:
            share = self.recording.input_between.varying_share
            shares = [] if share is None else [share]
        small = self.thresholds.input_scale.low or 0.0
        return (self.input_size or 1.0) < small or (
            bool(shares) and self.thresholds.varying_share.verdict(max(shares)) != "good"
        )

    def reasons(self, causes: list[str]) -> str:
        """Sentences on causes that are not a layer's own weights: inputs, running statistics."""
        text, own, what = "", self.recording.input, "The network's inputs have"
        if self._first_given:
            name = max(self._first_given, key=lambda each: self._first_given[each][1])
            given = self._first_given[name][0]
            if own is None or not math.isclose(given.std or 0.0, own.std or 0.0, rel_tol=0.01):
                own, what = given, f"What {name} is given of the network's inputs has"
        if INPUT in causes and own is not None and own.mean is not None and own.std is not None:
            text += (
                f" {what} a mean of {own.mean:.3g} and a standard deviation of {own.std:.3g}: "
                "subtract the one and divide by the other."
            )
        for name in self.in_order(causes):
            if name in self.misfits:
                text += f" {self.misfit_in_words(name)}"
        return text

    @cached_property
    def misfits(self) -> dict[str, float]:
        """How far running statistics are off, by layer, where they are not those of the examples.

        Only of layers to which nothing else comes that is as far off: what is wrong after running
        statistics is their doing, that of others included.
        """
        found: dict[str, float] = {}
        worst: dict[str, float] = {}
        for name, layer in self.layers.items():
            before = max((worst.get(each, 1.0) for each in layer.reads), default=1.0)
            own = self.fits.get(name, 1.0)
            if own > MISFIT * before:
                found[name] = own
            worst[name] = max(own, before)
        return found

    @cached_property
    def fits(self) -> dict[str, float]:
        """How far the running statistics of each layer that uses some are off: 1 where they fit."""
        return {each.name: _misfit(each) for each in self.layers.values() if each.statistics}

    def misfit_in_words(self, name: str) -> str:
        """A sentence on running statistics that are off."""
        used = self.layers[name].statistics
        assert used is not None
        assert used.shift is not None
        spread = 1.0 if used.spread is None else used.spread
        how = f"lies {used.shift:.3g} deviations off the running mean"
        if self.fits[name] > used.shift / max(1.0, spread):
            how = f"varies {spread:.3g} times as much as the running variance says"
        which = used.names[0].rpartition(".")[0] or name
        if used.fresh:
            return (
                f"The running statistics of {which} are 0 and 1, as they begin, and what it "
                f"normalises {how}. In training mode it uses the batch's own."
            )
        return f"What {which} normalises {how}, which was not made on such examples."

    def misled(self, layer: Layer) -> bool:
        """Whether running statistics are off because those of a layer before are."""
        return layer.name not in self.misfits and self.fits.get(layer.name, 1.0) > MISFIT

    def caused(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Layers at fault; in the place of those that come after running statistics of other data,
        or after a layer that lets nothing through, these; or the tables that drown the inputs."""
        if self.drowning and names:
            return self.in_order([*self.drowning])
        found: list[str] = []
        for name in names:
            before = {*self.ancestors(name), name}
            shut = self.in_order(before & self.shut)[:1]
            found += self.misfits.keys() & before or shut or [name]
        return self.in_order(found)

    @cached_property
    def shut(self) -> set[str]:
        """The layers all of whose units are dead, those apart that are given nothing but zeros."""
        return {
            layer.name
            for layer in self.layers.values()
            if layer.units and len(layer.dead_units) == layer.units
            if layer.preactivation is None or layer.preactivation.largest
        }

    def added(self, layer: Layer) -> Number:
        """ln of what the sum that reads a layer has, over what it had without it."""
        term = self._term(layer)
        own, other = (each.second_moment for each in term) if term else (None, None)
        if own is None or other is None:
            return None
        return math.log1p(own / max(other, 1e-30 * own, 1e-300))

    @cached_property
    def collapsed(self) -> Layer | None:
        """The layer that makes every example the same, or nothing at all.

        What is wrong with the layers after it, and with gradients before it, is its doing. None
        where examples become the same little by little.
        """
        for layer in self.layers.values():
            if layer.activation is None or layer.between is None or self.of_one(layer):
                continue
            if layer.role != "output" and self._is_one(layer):
                beside = [e for e in self.readers(layer.name) if self._read_beside(e, layer)]
                if not all(map(self._is_one, beside)):
                    continue  # as a transform that begins with doing nothing
                before = self.read(layer)
                was = before and before.between and before.between.varying_share
                return layer if was is None or was > 1e3 * _SAME else None
        return None

    def _read_beside(self, reader: Layer, layer: Layer) -> bool:
        """Whether a layer reads something besides another that was not made of it."""
        return any(
            name != layer.name and (name == INPUT or layer.name not in self.ancestors(name))
            for name in reader.reads
        )

    def _is_one(self, layer: Layer) -> bool:
        """Whether what a layer gives is the same for every example, where that was measured."""
        share = layer.between and layer.between.varying_share
        return layer.between is not None and (share is None or share < _SAME)

    def slope(self, layer: Layer) -> Number:
        """The gradient's squared length for one example, over all units and places.

        Along a residual stream, whose scale grows, it is that by a relative change.
        """
        moment = layer.gradient and layer.gradient.second_moment
        if moment is None:
            return None
        length = moment * layer.units * layer.places
        if not any(each.kind == "sum" for each in self.trunk):
            return length
        scale = layer.activation and layer.activation.second_moment
        return None if scale is None else length * scale

    def growth(self, layer: Layer) -> Number:
        """The gradient's second moment at a layer's input over that at its output.

        None where several layers read that input, so that it is not this one's alone.
        """
        before = self.read(layer)
        if before is None or len(layer.reads) != 1 or len(self.readers(before.name)) != 1:
            return None
        above = layer.gradient and layer.gradient.second_moment
        below = before.gradient and before.gradient.second_moment
        return below / above if above and below is not None else None

    def upstream(self, *layers: Layer) -> list[Layer]:
        """The layers from which some have their scale, themselves among them, in order of
        execution.

        A normalisation ends the way back: what stands before it has no say in the scale.
        """
        found: dict[str, Layer] = {}
        waiting, first = [*layers], {each.name for each in layers}
        while waiting:
            now = waiting.pop()
            found[now.name] = now
            if now.name in first or now.normalisation is None or self.misled(now):
                waiting += (self.layers[n] for n in now.reads if n in self.layers.keys() - found)
        return [self.layers[name] for name in self.in_order(list(found))]


def _misfit(layer: Layer) -> float:
    """How far a layer's running statistics are off what it normalises: 1 where they fit.

    The mean by how many deviations, the deviation by its ratio, either way.
    """
    used, given = layer.statistics, layer.preactivation_between
    if used is None or used.shift is None or given is None:
        return 1.0
    if given.varying_share is None or given.varying_share < _SAME:
        return 1.0
    spread = 1.0 if used.spread is None else max(used.spread, 1e-30)
    return max(spread, 1.0 / spread, used.shift / max(1.0, spread))
