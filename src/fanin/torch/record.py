"""One forward and backward pass of a module, watched and left without a trace: a recording."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fanin.diagnosis import assembly, summaries
from fanin.diagnosis.measurements import ParameterMeasures
from fanin.diagnosis.recording import Layer, Placed, Recording, SharedStream
from fanin.diagnosis.streams import shared_streams
from fanin.theory import Nonlinearity
from fanin.torch import losses, operators, parameters, signals
from fanin.torch.capture import exactly
from fanin.torch.layers import Assembly, Chain, chains
from fanin.torch.losses import LossFunction
from fanin.torch.naming import Names
from fanin.torch.nodes import Weight
from fanin.torch.passing import Inputs, Passed, PassError, check, run
from fanin.torch.preserve import Keeper
from fanin.torch.tensors import dense, tensors


@dataclass(frozen=True)
class Recorded:
    """A recording, and the activations by the names that it has them under."""

    recording: Recording
    nonlinearities: dict[str, Nonlinearity]
    weights: dict[str, Weight]
    """each weight as it was used first, by the name of its parameter"""

    @property
    def axes(self) -> dict[str, int]:
        """On which axis of a weight its units lie, where it is not the first."""
        found = {name: weight.units_axis for name, weight in self.weights.items()}
        return {name: axis for name, axis in found.items() if axis}


def record(
    module: nn.Module,
    inputs: Inputs,
    targets: Any = None,
    *,
    loss: str | LossFunction | None = "cross_entropy",
    ignore_index: int = -100,
    learning_rate: float | None = None,
) -> Recorded:
    """Measure a module over one batch, in the mode that it is in; see `fanin.torch.diagnose`."""
    check(module)
    names = Names(module)
    given = list(tensors(inputs))
    if any(each.is_nested for each in given):
        raise PassError(
            "nested tensors are not looked into; pad them (torch.nested.to_padded_tensor), and "
            "diagnose on that"
        )
    keeper = Keeper(module, names, (*given, *tensors(targets)))
    of_loss = Keeper(loss, Names(loss)) if isinstance(loss, nn.Module) else None
    changed: tuple[str, ...] = ()
    try:
        found = run(module, names, keeper, inputs, given, targets, loss, ignore_index)
    finally:
        changed = keeper.put_back()
        if of_loss is not None:
            changed += tuple(f"{name} of the loss" for name in of_loss.put_back())
    with exactly():
        return _assembled(module, names, found, given, changed, learning_rate)


def _assembled(
    module: nn.Module,
    names: Names,
    found: Passed,
    given: list[Tensor],
    changed: tuple[str, ...],
    learning_rate: float | None,
) -> Recorded:
    capture, lost = found.capture, found.lost
    examples = max(1, given[0].shape[0] if given and given[0].ndim else 1)
    floats = [each for each in given if dense(each) and each.ndim > 1]
    first = floats[0] if floats else None
    own = None if first is None else capture.tables.measured(first, _input_axis(first))
    layout = chains(capture.nodes, names, found.made.nodes, found.others)
    measured = _parameters(names, layout, found.gradients)
    factor = found.made.factor
    make = Assembly(names, measured, examples, float(lost.examples), learning_rate, factor)
    for chain in layout:
        make.add(chain)
    others = _others(names, layout, measured, learning_rate, capture.scales)
    layers = (*make.layers.values(), *others)
    recorded_loss = None
    if lost.kind != "none":
        of_output = summaries.moments(found.output.signal.sums, found.output.signal.counts)
        recorded_loss = losses.recorded(lost, signals.whole(of_output, found.output) or of_output)
        if found.multiplier is not None:
            name, by = found.multiplier
            recorded_loss = replace(
                recorded_loss, multiplier=name, multiplied_by=summaries.finite_number(by)
            )
    of_input = own and signals.whole(summaries.moments(own.signal.sums), own)
    recording = Recording(
        framework="pytorch",
        subject=_subject(module, names),
        examples=examples,
        layers=layers,
        loss=recorded_loss,
        not_finite=assembly.first_not_finite(layers, recorded_loss, _statistics(module), of_input),
        shared_streams=_shared(layers, measured),
        input=of_input,
        input_between=own and summaries.between(own.signal.sums, own.signal.cosines),
        learning_rate=learning_rate,
        not_seen=_not_seen(module, names, found, changed),
        placed=tuple(
            Placed(name, table.size_of_one, given.size_of_one, make.named(given.nodes))
            for found_here in capture.placed.values()
            for name, table, given in found_here
            if given.scale is None and 0.0 < given.size_of_one < math.inf > table.size_of_one
        ),
        further_outputs=tuple(chain.name for chain in layout if chain.further),
    )
    return Recorded(recording, _nonlinearities(layout), _weights(layout))


def _input_axis(x: Tensor) -> int:
    return 1 if x.ndim == 4 else x.ndim - 1


def _parameters(
    names: Names, layout: list[Chain], gradients: Mapping[str, Tensor]
) -> dict[str, ParameterMeasures]:
    """Every parameter measured once, weights as (fan_in, units)."""
    tables = _weights(layout)
    owned: list[parameters.Own] = []
    for name, tensor in names.parameters.items():
        gradient = gradients.get(name)
        if gradient is not None and gradient.is_sparse:
            gradient = gradient.coalesce().values()
        columns, slopes = None, None
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor.detach())
            gradient = None if gradient is None else torch.view_as_real(gradient)
        elif name in tables and tensor.ndim > 1:
            columns = tables[name].columns
            if gradient is not None and gradient.shape == tensor.shape:
                slopes = tables[name].arrange(gradient.detach())
        owned.append(parameters.Own(tensor.detach(), gradient, columns, slopes))
    return dict(zip(names.parameters, parameters.parameters(owned), strict=True))


def _weights(layout: list[Chain]) -> dict[str, Weight]:
    """The weights that are all of one parameter, as they were used first."""
    found: dict[str, Weight] = {}
    for chain in layout:
        weight = chain.first.weight
        if weight is not None and weight.whole:
            found.setdefault(weight.parameters[0], weight)
    return found


def _others(
    names: Names,
    layout: list[Chain],
    measured: Mapping[str, ParameterMeasures],
    learning_rate: float | None,
    scales: set[str],
) -> list[Layer]:
    """Parameters that no layer above owns, such as positions and scales, by the module's name."""
    owned = {first for chain in layout for first in chain.parameters.values()}
    groups: dict[str, list[str]] = {}
    for name in names.parameters:
        if name not in owned:
            groups.setdefault(name.rpartition(".")[0], []).append(name)
    taken = {chain.name for chain in layout}
    made: list[Layer] = []
    for path, own in groups.items():
        facts = [
            assembly.ParameterFacts(
                name=name,
                shape=tuple(names.parameters[name].shape),
                role="branch scale" if name in scales else "other",
                measures=measured[name],
                trainable=names.parameters[name].requires_grad,
            )
            for name in own
        ]
        title = path or "parameters"
        made.append(
            Layer(
                name=f"{title} (its own)" if title in taken else title,
                kind="other",
                role="none",
                reads=(),
                units=sum(names.parameters[name].numel() for name in own),
                parameters=tuple(assembly.parameter(each, learning_rate) for each in facts),
            )
        )
    return made


def _statistics(module: nn.Module) -> dict[str, Any]:
    """Running statistics, in which nothing that is not finite has a meaning."""
    return {
        name: buffer.detach().float().cpu().numpy()
        for name, buffer in module.named_buffers()
        if "running_" in name and buffer.is_floating_point()
    }


def _shared(
    layers: tuple[Layer, ...], measured: Mapping[str, ParameterMeasures]
) -> tuple[SharedStream, ...]:
    found = shared_streams(
        {
            own.name: measured[own.name].prefix
            for layer in layers
            for own in layer.parameters
            if own.name in measured
            and own.tied_to is None
            and own.trainable  # a frozen copy is meant
            # Layers that were cloned are told by their weights: nn.Transformer draws these again.
            and not own.role.startswith("normalisation")
            and not own.role.endswith("bias")
        }
    )
    fans = {layer.weight: (layer.fan_in, layer.fan_out) for layer in layers if layer.weight}
    return tuple(pair for pair in found if not _mirrored(pair, fans))


def _mirrored(pair: SharedStream, fans: Mapping[str, tuple[int | None, int | None]]) -> bool:
    """Whether one weight is the other's transpose, as a decoder's that begins as its encoder's."""
    one, other = fans.get(pair.first), fans.get(pair.second)
    if one is None or other is None or pair.correlation < 0.999:
        return False
    return one[0] != one[1] and one == other[::-1]


def _not_seen(
    module: nn.Module, names: Names, found: Passed, changed: tuple[str, ...]
) -> tuple[str, ...]:
    said = list(found.capture.unseen)
    if any(hasattr(each, "_orig_mod") for each in module.modules()):
        said.append("compiled code: the compiled modules ran eagerly")
    unused = [
        name
        for name, each in names.parameters.items()
        if each.requires_grad and name not in found.gradients
    ]
    if unused and not found.gradients:
        said.append("gradients: the output does not depend on any parameter that is to learn")
    elif unused:
        said.append(f"parameters that the loss does not depend on: {_some(unused)}")
    frozen = [name for name, each in names.parameters.items() if not each.requires_grad]
    if frozen:
        said.append(f"gradients of frozen parameters: {_some(frozen)}")
    if changed:
        said.append(
            f"attributes that forward changes, which were put back where they could be: "
            f"{_some(list(changed))}"
        )
    return tuple(said)


def _some(names: list[str], count: int = 6) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _nonlinearities(layout: list[Chain]) -> dict[str, Nonlinearity]:
    return {
        node.activation.name: operators.nonlinearity(node.activation)
        for chain in layout
        for node in chain.nodes
        if node.activation is not None
    }


def _subject(module: nn.Module, names: Names) -> str:
    count = sum(each.numel() for each in names.parameters.values())
    mode = "training" if module.training else "evaluation"
    return f"{type(module).__name__} ({count:,} parameters, in {mode} mode)"
