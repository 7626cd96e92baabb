"""A recording with its predictions, as the checks and prescriptions ask about it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.paths import bypassed
from fanin.diagnosis.predictions import predict
from fanin.diagnosis.recording import Layer, Moments, Number, Parameter, Recording
from fanin.diagnosis.report import LayerPrediction
from fanin.diagnosis.thresholds import THRESHOLDS, Thresholds
from fanin.theory import Nonlinearity, TheoryError, forward_gain

INPUT = ""
"""What the network's input is called among what layers read, and among causes."""
_SAME = 1e-12
"""Where no more than this share of a layer's power varies over examples, they are one."""
MISFIT = 2.5
"""Running statistics that are so many times off are blamed for what goes wrong after them."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is to be judged."""

    recording: Recording
    nonlinearities: Mapping[str, Nonlinearity]
    thresholds: Thresholds = THRESHOLDS

    @cached_property
    def predictions(self) -> tuple[LayerPrediction, ...]:
        return predict(self.recording, self.nonlinearities)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.recording.layers}

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.recording.parameters}

    @cached_property
    def order(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.layers)}

    def in_order(self, names: "set[str] | list[str]") -> tuple[str, ...]:
        """Names of layers in order of execution, each once; without INPUT, which is none."""
        return tuple(sorted(set(names) - {INPUT}, key=self.order.__getitem__))

    def listed(self, names: "list[str] | tuple[str, ...]") -> str:
        """Names of layers in order of execution, for a sentence."""
        return layer_list(self.in_order(list(names)), list(self.layers))

    @property
    def hidden(self) -> list[Layer]:
        """The layers with hidden weights."""
        return [layer for layer in self.layers.values() if layer.role in ("hidden", "residual")]

    @cached_property
    def aside(self) -> frozenset[str]:
        """The layers that the ways from the input to each output can go round."""
        found = self._bypassed(self.output)
        for name in self.recording.further_outputs:
            found &= self._bypassed(self.layers[name])
        return found

    def _bypassed(self, output: Layer | None) -> frozenset[str]:
        places = {name: place for place, name in enumerate(self.layers, 1)}
        edges = [
            (places.get(read, 0), places[layer.name])
            for layer in self.layers.values()
            for read in layer.reads
        ]
        used = {read for layer in self.layers.values() for read in layer.reads}
        ends = [output] if output else []
        ends = ends or [each for each in self.layers.values() if each.name not in used]
        around = bypassed(
            len(places) + 1, edges, [places[each.name] for each in ends if each.reads]
        )
        return frozenset(name for name, place in places.items() if place in around)

    @cached_property
    def trunk(self) -> list[Layer]:
        """The layers that every way to the first output goes through, hidden weights and sums of
        branches."""
        aside = self._bypassed(self.output)
        return [
            layer
            for layer in self.layers.values()
            if layer.name not in aside
            and (layer.role in ("hidden", "residual") or layer.kind == "sum")
        ]

    @cached_property
    def plain(self) -> bool:
        """Whether this is a stack of linear layers, on which most thresholds were decided."""
        kinds = {layer.kind for layer in self.layers.values()}
        return not kinds & {"convolution", "attention", "recurrent"} and not any(
            layer.kind == "sum" and layer.name not in self.aside for layer in self.layers.values()
        )

    @cached_property
    def small_scales(self) -> list[str]:
        """Parameters that scale down what branches add, which is a way to start."""
        return [
            own.name
            for own in self.recording.parameters
            if own.role == "branch scale" and (own.data.largest or 0.0) < 0.2
        ]

    def absorbed(self, layer: Layer) -> bool:
        """Whether a normalisation, wherever the way leads, takes the layer's scale out again."""
        known: dict[str, bool] = {}
        for each in reversed(self.layers.values()):
            readers = self.readers(each.name)
            known[each.name] = each.normalisation is not None or (
                bool(readers) and all(known.get(reader.name, False) for reader in readers)
            )
            if each is layer:
                break
        return known[layer.name]

    @property
    def output(self) -> Layer | None:
        """The layer whose output the loss reads."""
        return next(iter(self.outputs), None)

    @cached_property
    def outputs(self) -> list[Layer]:
        """The layers whose outputs the loss reads, the first output's first."""
        further = self.recording.further_outputs
        found = [each for each in self.layers.values() if each.role == "output"]
        return sorted(found, key=lambda layer: layer.name in further)

    @property
    def same_inputs(self) -> bool:
        """Whether the network's inputs do not vary over the examples."""
        between = self.recording.input_between
        return between is not None and not between.varying_share

    @property
    def last_hidden(self) -> Layer | None:
        """The layer that the output layer reads; the last one where there is none."""
        return None if self.output is None else self.read(self.output)

    def readers(self, name: str) -> list[Layer]:
        """The layers that read this one."""
        return self._readers.get(name, [])

    @cached_property
    def _readers(self) -> dict[str, list[Layer]]:
        found: dict[str, list[Layer]] = {}
        for layer in self.layers.values():
            for name in dict.fromkeys(layer.reads):
                found.setdefault(name, []).append(layer)
        return found

    def whole(self, layer: Layer) -> Layer:
        """A layer with its parameters: of a later call of a module those of the first."""
        first = self.layers.get(layer.name.partition("#")[0])
        own = layer.weight or layer.part or layer.magnitude
        if own or first is None or layer.name == first.name:
            return layer
        return replace(
            layer,
            weight=first.weight,
            bias=layer.bias or first.bias,
            parameters=(*first.parameters, *layer.parameters),
        )

    def read(self, layer: Layer) -> Layer | None:
        """The layer that this one reads first; None where that is the network's input."""
        return self.layers.get(layer.reads[0]) if layer.reads else None

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
        found = {each.name: self.excess(each) for each in layers if not self.misled(each)}
        given = [
            self._first_given[each.name][1] for each in layers if each.name in self._first_given
        ]
        if given:
            found[INPUT] = 2 * math.log(max(given))
        return {name: share for name, share in found.items() if share > 0.0}

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
        gains = [
            own.data.std * math.sqrt(own.shape[1])
            for own in layer.parameters
            if "weight_ih" in own.name and len(own.shape) == 2 and own.data.std
        ]
        return 2 * math.log(max(gains)) if gains else 0.0

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
        size = {each.name: misfit(each) for each in self.layers.values() if each.statistics}
        for name, own in size.items():
            before = max((size.get(each, 1.0) for each in self.ancestors(name)), default=1.0)
            if own > MISFIT * before:
                found[name] = own
        return found

    def misfit_in_words(self, name: str) -> str:
        """A sentence on running statistics that are off."""
        used = self.layers[name].statistics
        assert used is not None
        assert used.shift is not None
        spread = 1.0 if used.spread is None else used.spread
        how = f"lies {used.shift:.3g} deviations off the running mean"
        if misfit(self.layers[name]) > used.shift / max(1.0, spread):
            how = f"varies {spread:.3g} times as much as the running variance says"
        which = used.names[0].rpartition(".")[0] or name
        if used.fresh:
            return (
                f"The running statistics of {which} are 0 and 1, as they begin, and what it "
                f"normalises {how}. In training mode it uses the batch's own."
            )
        return f"What {which} normalises {how}, which was not made on such examples."

    def ancestors(self, name: str) -> set[str]:
        """The layers from which the way leads to one."""
        found: set[str] = set()
        waiting = [*self.layers[name].reads]
        while waiting:
            now = waiting.pop()
            if now in self.layers and now not in found:
                found.add(now)
                waiting += self.layers[now].reads
        return found

    def misled(self, layer: Layer) -> bool:
        """Whether running statistics are off because those of a layer before are."""
        return layer.name not in self.misfits and misfit(layer) > MISFIT

    def caused(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Layers at fault; in the place of those that come after running statistics of other data,
        or after a layer that lets nothing through, these."""
        found: list[str] = []
        for name in names:
            before = {*self.ancestors(name), name}
            shut = self.in_order(before & self._shut)[:1]
            found += self.misfits.keys() & before or shut or [name]
        return self.in_order(found)

    @cached_property
    def _shut(self) -> set[str]:
        """The layers all of whose units are dead."""
        return {
            layer.name
            for layer in self.layers.values()
            if layer.units and len(layer.dead_units) == layer.units
        }

    def added(self, layer: Layer) -> Number:
        """ln of what the sum that reads a layer has, over what it had without it.

        None where it has less than the layer gives, which then comes to it by another operation.
        """
        sums = [each for each in self.readers(layer.name) if each.kind == "sum"]
        own = layer.activation and layer.activation.second_moment
        stream = sums[0].preactivation if sums else None
        whole = stream and stream.second_moment
        if not own or not whole or own > 1.5 * whole:
            return None
        return math.log1p(own / max(whole - own, 1e-30 * whole, 1e-300))

    @cached_property
    def collapsed(self) -> Layer | None:
        """The layer that makes every example the same, or nothing at all.

        What is wrong with the layers after it, and with gradients before it, is its doing. None
        where examples become the same little by little.
        """
        for layer in self.layers.values():
            if layer.activation is None or layer.between is None or self.of_one(layer):
                continue
            share = layer.between.varying_share
            if layer.role != "output" and (share is None or share < _SAME):
                before = self.read(layer)
                was = before and before.between and before.between.varying_share
                return layer if was is None or was > 1e3 * _SAME else None
        return None

    def of_one(self, layer: Layer) -> bool:
        """Whether a layer was measured on one example at one place: nothing can differ there."""
        return self.recording.examples == 1 and layer.places <= 1

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

    def upstream(self, layer: Layer) -> list[Layer]:
        """The layers from which a layer has its scale, itself among them, in order of execution.

        A normalisation ends the way back: what stands before it has no say in the scale.
        """
        found: dict[str, Layer] = {}
        waiting = [layer]
        while waiting:
            now = waiting.pop()
            found[now.name] = now
            if now is layer or now.normalisation is None or self.misled(now):
                waiting += (self.layers[n] for n in now.reads if n in self.layers.keys() - found)
        return [self.layers[name] for name in self.in_order(list(found))]


def misfit(layer: Layer) -> float:
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
