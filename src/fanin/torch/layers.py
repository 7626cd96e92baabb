"""From the nodes of a pass to the layers of a recording: what belongs together, and its part."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from fanin.diagnosis import assembly, summaries
from fanin.diagnosis.assembly import ParameterFacts
from fanin.diagnosis.measurements import LayerMeasures, ParameterMeasures
from fanin.diagnosis.paths import optional
from fanin.diagnosis.recording import Layer, LayerRole, RunningStatistics, Summand
from fanin.diagnosis.summaries import finite_number
from fanin.torch import recurrent, sums
from fanin.torch.naming import Names
from fanin.torch.nodes import Node, Weight
from fanin.torch.operators import ends_of
from fanin.torch.parameters import column_sums
from fanin.torch.signals import Measured, on_host, whole


@dataclass
class Chain:
    """A node with the normalisation and the activation that follow it and nothing else does."""

    nodes: list[Node]
    name: str = ""
    role: LayerRole = "none"
    branches: int = 0
    further: bool = False
    """whether it ends in another output than the first"""
    parameters: dict[str, str] = field(default_factory=dict)
    """its own, under the names that it has them by, with the first name of each"""

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    def one(self, what: str) -> Node | None:
        return next((node for node in self.nodes if getattr(node, what) is not None), None)


def chains(
    nodes: list[Node], names: Names, outputs: Iterable[int], others: Iterable[int] = ()
) -> list[Chain]:
    """The layers of a pass, named and with their roles; `outputs` are the nodes of what the loss
    reads, `others` those of what else the module returned, of which only those count that no other
    node reads and a gradient reaches."""
    readers: dict[int, list[Node]] = {}
    for node in nodes[1:]:
        for number in node.reads:
            readers.setdefault(number, []).append(node)
    ends = set(outputs)
    more = {n for n in others if n and n not in readers and n not in ends and nodes[n].gradient}
    chain_of: dict[int, Chain] = {}
    found: list[Chain] = []
    for node in nodes[1:]:
        chain = chain_of.get(node.read) if node.read else None
        if (
            chain is not None
            and chain.last.number == node.read
            and readers[node.read or 0] == [node]
            and node.read not in ends | more
            and _joins(chain, node)
        ):
            chain.nodes.append(node)
        else:
            chain = Chain([node])
            found.append(chain)
        chain_of[node.number] = chain
    # Attention is known by its softmax, and may read values that were made only after that.
    found.sort(key=lambda chain: max((chain.first.number, *(n + 0.5 for n in chain.first.reads))))
    taken: set[str] = set()
    for chain in found:
        base = chain.first.name
        chain.name = base
        count = 2
        while chain.name in taken:
            chain.name, count = f"{base}#{count}", count + 1
        taken.add(chain.name)
    _give_roles(found, chain_of, ends, more)
    _give_parameters(found, names)
    return found


def _joins(chain: Chain, node: Node) -> bool:
    if chain.first.kind in ("attention", "activation"):
        return False
    if node.kind == "normalisation":
        # Of a residual stream the sum itself is to be seen.
        return chain.one("normalisation") is None and chain.first.kind != "sum"
    return node.kind == "activation"


def _give_roles(
    found: list[Chain], chain_of: Mapping[int, Chain], ends: set[int], more: set[int]
) -> None:
    place = {id(chain): number for number, chain in enumerate(found, 1)}
    edges: list[tuple[int, int]] = []
    for chain in found:
        for node in chain.nodes:
            for number in node.reads:
                source = place[id(chain_of[number])] if number else 0
                if source != place[id(chain)]:
                    edges.append((source, place[id(chain)]))
    sinks = {place[id(chain_of[number])] for number in ends if number}
    further = {place[id(chain_of[number])] for number in more} - sinks
    added_up = {place[id(chain)] for chain in found if chain.first.kind == "sum"}
    aside = optional(len(found) + 1, edges, sinks | further, added_up)
    sums = [c for c in found if c.first.kind == "sum" and place[id(c)] not in aside]
    added = {number for chain in sums for number in chain.first.reads}
    # A head that is called several times is one; of two there is none.
    heads = sinks if len({found[sink - 1].first.name for sink in sinks}) == 1 else set[int]()
    for chain in found:
        kind = chain.first.kind
        chain.further = place[id(chain)] in further and chain.one("weight") is not None
        if (place[id(chain)] in heads and chain.one("weight") is not None) or chain.further:
            chain.role = "output"
        elif kind == "embedding":
            chain.role = "embedding"
        elif chain.first.weight is not None or kind == "recurrent":
            chain.role = "residual" if place[id(chain)] in aside else "hidden"
            if chain.role == "residual" and chain.last.number in added:
                chain.branches = max(1, (len(sums) + 1) // 2)


def _give_parameters(found: list[Chain], names: Names) -> None:
    """Each parameter goes to the first layer that uses it; to others under another name of its."""
    owned: set[str] = set()
    for chain in found:
        for node in chain.nodes:
            for first in node.parameters:
                own = first
                if first in owned:
                    own = _other_name(first, node, names)
                    if own is None or own in owned:
                        continue
                owned.add(own)
                chain.parameters[own] = first


def _other_name(first: str, node: Node, names: Names) -> str | None:
    """Under which other name a tied parameter belongs to the module of this node."""
    others = [name for name, of in names.tied.items() if of == first]
    return next((name for name in others if name.rpartition(".")[0] == node.name), None)


@dataclass
class Assembly:
    """What is known of all layers, for making each of them."""

    names: Names
    parameters: Mapping[str, ParameterMeasures]
    examples: int
    gradient_scale: float
    learning_rate: float | None
    output_factor: float = 1.0
    """the constant by which the module multiplies its output layer's"""
    layers: dict[str, Layer] = field(default_factory=dict)
    by_node: dict[int, Layer] = field(default_factory=dict)
    outputs: dict[int, Measured] = field(default_factory=dict)

    def add(self, chain: Chain) -> None:
        layer = self._layer(chain)
        self.layers[layer.name] = layer
        self.by_node.update((node.number, layer) for node in chain.nodes)

    def _layer(self, chain: Chain) -> Layer:
        first, last = chain.first, chain.last
        for node in chain.nodes:
            if node.output is not None:
                self.outputs[node.number] = node.output
        before = self._given(first)
        described = self._described(chain, before)
        act = chain.one("activation")
        factor = act.factor if act else 1.0
        after = self.output_factor if chain.role == "output" and not chain.further else 1.0
        source = before if first.kind in ("activation", "normalisation") else None
        if factor != 1.0 and act:
            source = act.given
        preactivation = source or self.outputs.get(first.number)
        if preactivation is None:
            facts = tuple(self._facts(chain))
            own = tuple(assembly.parameter(each, self.learning_rate) for each in facts)
            return replace(described, parameters=own)
        norm = chain.one("normalisation")
        normalised = self.outputs.get(norm.number) if norm else None
        activation = self.outputs.get(act.number) if act else None
        gradient = last.gradient
        measures = LayerMeasures(
            preactivation.signal,
            normalised and normalised.signal,
            activation and activation.signal,
            gradient and gradient.signal,
            on_host(act.ends) if act and act.ends else None,
        )
        layer = assembly.layer(
            described,
            measures,
            tuple(self._facts(chain)),
            flat_ends=ends_of(act.activation) if act and act.activation else (None, None),
            gradient_scale=self.gradient_scale,
            learning_rate=self.learning_rate,
        )
        last_measured = activation or normalised or preactivation
        if any(
            each is not None and each.partly for each in (preactivation, last_measured, gradient)
        ):
            layer = replace(
                layer,
                preactivation=whole(layer.preactivation, preactivation),
                normalised=whole(layer.normalised, normalised),
                activation=whole(layer.activation, last_measured),
                gradient=whole(layer.gradient, gradient, self.gradient_scale),
            )
        if any(node.subpixels for node in chain.nodes):
            # Kernels may be equal for pixels side by side: the loss tells them apart.
            layer = replace(layer, copies=layer.twins)
        if first.weight is not None and first.weight.groups > 1 and layer.copies:
            layer = _of_one_input(layer, first.weight)
        if first.kind == "recurrent":
            own = {name: self.names.parameters[of] for name, of in chain.parameters.items()}
            layer = replace(
                layer,
                dead_units=recurrent.shut(layer, preactivation),
                starved=recurrent.starved(layer),
                held=recurrent.held(own),
            )
        return _multiplied(self._with_weight(layer, chain), factor * after)

    def _described(self, chain: Chain, before: Measured | None) -> Layer:
        first, last = chain.first, chain.last
        weight, norm, act = first.weight, chain.one("normalisation"), chain.one("activation")
        embeds = first.kind == "embedding"
        own = {of: name for name, of in chain.parameters.items()}
        name = own.get(weight.parameters[0]) if weight and weight.whole else None
        fan_in = None if weight is None or embeds else weight.fan_in
        if first.kind == "recurrent":
            name, fan_in = self._widest(chain)
        return Layer(
            name=chain.name,
            kind=first.kind,
            role=chain.role,
            reads=self._reads(chain),
            units=last.units,
            weight=name,
            weight_shape=weight.shape if weight else (),
            fan_in=fan_in,
            fan_out=None if weight is None or embeds else weight.fan_out,
            branches=chain.branches,
            nonlinearity_before=self._nonlinearity_before(first),
            nonlinearity=act.activation.name if act and act.activation else None,
            normalisation=norm and norm.normalisation,
            statistics=self._running_statistics(norm) if norm else None,
            bias=own.get(first.bias) if first.bias else None,
            magnitude=own.get(weight.magnitude) if weight and weight.magnitude else None,
            first_unit=first.first_unit,
            calls=first.call,
            place=last.place,
            places=last.size / max(1, self.examples * last.units),
            attention_entropy=first.look and first.look.entropy,
            attention_spread=first.look and first.look.spread,
            values=tuple(self.by_node[n].name for n in first.values if n),
            summands=tuple(
                Summand(self.named(each.nodes), finite_number(each.size_of_one**2), each.scale)
                for each in first.terms
            ),
            input=whole(_moments(before), before),
            input_between=_between(first),
        )

    def _running_statistics(self, norm: Node) -> RunningStatistics | None:
        """How the statistics that a normalisation uses fit what it was given."""
        given = self._given(norm)
        if len(norm.running) != 2 or given is None:
            return None
        used = (on_host(each.float()) for each in norm.running.values())
        mean, variance = (each.astype(np.float64) for each in used)
        if mean.size != np.size(given.signal.sums.mean) or not np.isfinite(mean + variance).all():
            return None
        alone = self.examples == 1 and given.rows == 1
        fit = summaries.fit(given.signal.sums, mean, variance)
        fresh = not mean.any() and bool((abs(variance - 1.0) < 0.01).all())
        spread = None if alone else fit[1]
        return RunningStatistics(tuple(norm.running), fit[0], spread, fresh)

    def _widest(self, chain: Chain) -> tuple[str | None, int | None]:
        """Of a recurrent layer's matrices the one with the largest gain, and its fan-in."""
        gains: dict[str, float] = {}
        for own, first in chain.parameters.items():
            tensor = self.names.parameters[first]
            if tensor.ndim == 2:
                moments = summaries.moments(self.parameters[first].data)
                gains[own] = assembly.gain_of(moments, tensor.shape[1]) or 0.0
        if not gains:
            return None, None
        name = max(gains, key=gains.__getitem__)
        return name, self.names.parameters[chain.parameters[name]].shape[1]

    def _reads(self, chain: Chain) -> tuple[str, ...]:
        inside = {node.number for node in chain.nodes}
        read = [n for node in chain.nodes for n in node.reads if n not in inside]
        return self.named(read)

    def named(self, nodes: Iterable[int]) -> tuple[str, ...]:
        """The layers that have these nodes."""
        return tuple(dict.fromkeys(self.by_node[n].name if n else "" for n in nodes))

    def _nonlinearity_before(self, node: Node) -> str | None:
        if len(node.reads) != 1 or node.reads[0] == 0:
            return None
        return self.by_node[node.reads[0]].nonlinearity

    def _given(self, node: Node) -> Measured | None:
        """What a node was given: measured there, or as what it reads gave it."""
        if node.given is not None:
            return node.given
        return self.outputs.get(node.read) if node.read else None

    def _with_weight(self, layer: Layer, chain: Chain) -> Layer:
        """A weight that is a part of a parameter, or made of some, or one of an earlier layer."""
        weight = chain.first.weight
        if weight is None or layer.weight is not None:
            return layer
        of_units = column_sums([weight.columns])[0]
        moments = summaries.moments(of_units)
        return replace(
            assembly.uneven(layer, of_units),
            part=None if weight.first_unit is None else (weight.parameters[0], weight.first_unit),
            weight_std=moments.std,
            weight_second_moment=moments.second_moment,
            gain=assembly.gain_of(moments, layer.fan_in),
        )

    def _facts(self, chain: Chain) -> Iterator[ParameterFacts]:
        weight = chain.first.weight
        for own, first in chain.parameters.items():
            tensor = self.names.parameters[first]
            is_weight = weight is not None and weight.whole and weight.parameters[0] == first
            yield ParameterFacts(
                name=own,
                shape=tuple(tensor.shape),
                role=_role(chain, own, first),
                measures=self.parameters[first],
                columns=partial(_columns, weight) if is_weight and weight else None,
                trainable=tensor.requires_grad,
                tied_to=first if own != first else None,
            )


def _of_one_input(layer: Layer, weight: Weight) -> Layer:
    """Copies are units that look at the same input through the same weights; or at none."""
    size = max(1, layer.units // weight.groups)

    def split(groups: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        found: list[tuple[int, ...]] = []
        for group in groups:
            if not weight.columns[:, group[0]].any():
                found.append(group)
                continue
            inputs = dict.fromkeys(unit // size for unit in group)
            found += (tuple(u for u in group if u // size == which) for which in inputs)
        return tuple(group for group in found if len(group) > 1)

    return replace(layer, copies=split(layer.copies), twins=split(layer.twins))


def _multiplied(layer: Layer, factor: float) -> Layer:
    """A layer whose outputs are multiplied by a constant: its weights act as if they were."""
    if factor == 1.0 or layer.gain is None or layer.weight_second_moment is None:
        return layer
    return replace(
        layer,
        factor=factor,
        gain=layer.gain * abs(factor),
        weight_second_moment=layer.weight_second_moment * factor**2,
    )


def _columns(weight: Weight) -> Any:
    return sums.on_host(weight.columns.detach().cpu())


def _role(chain: Chain, own: str, first: str) -> str:
    node = next(node for node in chain.nodes if first in node.parameters)
    if node.kind == "normalisation":
        return f"normalisation {'bias' if own.endswith('bias') else 'gain'}"
    if node.bias == first:
        return "output bias" if chain.role == "output" else "bias"
    return chain.role if chain.role != "none" else "hidden"


def _between(node: Node) -> Any:
    """How alike examples are in what a weight was given, where that was measured by itself."""
    if node.weight is None or node.given is None:
        return None
    given = node.given
    return summaries.between(given.signal.sums, given.signal.cosines)


def _moments(of: Measured | None) -> Any:
    return None if of is None else summaries.moments(of.signal.sums)
