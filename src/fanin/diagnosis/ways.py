"""The layers of a recording, and the ways that lead from the input to the outputs through them."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.paths import bypassed
from fanin.diagnosis.recording import Layer, Parameter, Recording, Summand

INPUT = ""
"""What the network's input is called among what layers read, and among causes."""


@dataclass(frozen=True, eq=False)
class Ways:
    """Which layers read which."""

    recording: Recording

    @cached_property
    def layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.recording.layers}

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.recording.parameters}

    @cached_property
    def owners(self) -> dict[str, Layer]:
        """By the name of a parameter, the layer that has it."""
        return {own.name: layer for layer in self.layers.values() for own in layer.parameters}

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
        return self.avoidable if self.outputs else self._bypassed(self.ends)

    @cached_property
    def avoidable(self) -> frozenset[str]:
        """The layers that the ways to each end, looked at by itself, can go round: of two towers no
        layer is so only because the other tower is there."""
        return frozenset(self.layers).intersection(*self._round.values())

    @cached_property
    def _round(self) -> dict[str, frozenset[str]]:
        """By each end, the layers that the ways to it can go round."""
        return {end.name: self._bypassed([end]) for end in self.ends}

    @cached_property
    def ends(self) -> list[Layer]:
        """The layers where the ways end: the outputs, or where there are none those that no other
        reads, as where the output is a product of two layers."""
        return self.outputs or [
            each for each in self.layers.values() if each.reads and not self.readers(each.name)
        ]

    @cached_property
    def streams(self) -> list[list[Layer]]:
        """Sums one after another along residual streams.

        A sum goes on with the stream of one that it reads as it is; or of the last one before it
        on all ways to an end, unless all that was summed is normalised between them.
        """
        before: dict[str, str] = {}
        for aside in self._round.values():
            last: str | None = None
            for name, layer in self.layers.items():
                if name in aside:
                    continue
                if layer.kind == "sum":
                    if last is not None:
                        before.setdefault(name, last)
                    last = name
                elif layer.normalisation is not None:
                    last = None
        sums = {name: layer for name, layer in self.layers.items() if layer.kind == "sum"}
        for name, layer in sums.items():
            read = [each for each in layer.reads if each in sums]
            as_it_is = self.in_order([each for each in read if self._hands_on(each, name)])
            before |= {name: as_it_is[-1]} if as_it_is else {}
        found: list[list[Layer]] = []
        for name in [each for each in sums if each not in {*before.values()}]:
            stream = [name]
            while stream[-1] in before:
                stream.append(before[stream[-1]])
            found.append([self.layers[each] for each in reversed(stream)])
        return found

    def _hands_on(self, name: str, to: str) -> bool:
        """Whether a sum is a term of another as it is, and not what a decay has left of it."""
        own = self.layers[name].activation
        power = own and own.second_moment
        return any(
            each.reads == (name,)
            and math.isclose(each.second_moment or 0, power or 0, rel_tol=0.01)
            for each in self.summands(self.layers[to])
        )

    def summands(self, layer: Layer) -> tuple[Summand, ...]:
        """The terms of a sum: as they were measured, or as the layers that it reads gave them."""
        read = [self.layers[name] for name in layer.reads if name in self.layers]
        return layer.summands or tuple(
            Summand((each.name,), each.activation and each.activation.second_moment)
            for each in read
        )

    def _bypassed(self, ends: list[Layer]) -> frozenset[str]:
        places = {name: place for place, name in enumerate(self.layers, 1)}
        edges = [
            (places.get(read, 0), places[layer.name])
            for layer in self.layers.values()
            for read in layer.reads
        ]
        around = bypassed(
            len(places) + 1, edges, [places[each.name] for each in ends if each.reads]
        )
        return frozenset(name for name, place in places.items() if place in around)

    @cached_property
    def trunk(self) -> list[Layer]:
        """The layers that every way to the first output goes through, hidden weights and sums of
        branches."""
        aside = self._round[self.output.name] if self.output else self._bypassed(self.ends)
        return [
            layer
            for layer in self.layers.values()
            if layer.name not in aside
            and (layer.role in ("hidden", "residual") or layer.kind == "sum")
        ]

    @cached_property
    def plain(self) -> bool:
        """Whether this is a stack of linear layers, on which most thresholds were decided: with a
        head, and without pooling the members of a set, or frames."""
        if self.output is None or len({layer.places for layer in self.trunk}) > 1:
            return False
        kinds = {layer.kind for layer in self.layers.values()}
        return not kinds & {"convolution", "attention", "recurrent"} and not any(
            layer.kind == "sum" and layer.name not in self.aside for layer in self.layers.values()
        )

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

    def first_call(self, layer: Layer) -> Layer | None:
        """Of a layer that is a later call of a module, the first."""
        first = self.layers.get(layer.name.partition("#")[0])
        return None if first is layer else first

    def whole(self, layer: Layer) -> Layer:
        """A layer with its parameters: of a later call of a module those of the first."""
        first = self.first_call(layer)
        if layer.weight or layer.part or layer.magnitude or first is None:
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

    def of_one(self, layer: Layer) -> bool:
        """Whether a layer was measured on one example at one place: nothing can differ there."""
        return self.recording.examples == 1 and layer.places <= 1
