"""Recording a network of fanin's: one forward and backward pass, measured where it was computed."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Integer

from fanin.autograd import Evaluation, evaluate
from fanin.diagnosis import assembly, measurements, summaries
from fanin.diagnosis.assembly import ParameterFacts
from fanin.diagnosis.ends import flat_ends
from fanin.diagnosis.measurements import (
    Ends,
    LayerMeasures,
    Output,
    ParameterMeasures,
    Signal,
    UnitSums,
)
from fanin.diagnosis.outline import Outline, name_of, outline
from fanin.diagnosis.packing import Packed, fetch, packed
from fanin.diagnosis.recording import Layer, Number, Recording
from fanin.diagnosis.streams import shared_streams
from fanin.errors import ShapeError
from fanin.networks import Network, Parameters, Pass, Statistics, as_values
from fanin.networks.activations import nonlinearity_of
from fanin.theory import Nonlinearity
from fanin.training.optimiser import Optimiser

FlatEnds = tuple[float | None, float | None]

PLAIN = Optimiser()
"""Gradient descent, without momentum and decay."""


def record(
    network: Network,
    parameters: Parameters,
    contexts: Integer[Any, "examples block"],
    targets: Integer[Any, " examples"],
    *,
    statistics: Statistics | None = None,
    learning_rate: float = 0.1,
    optimiser: Optimiser = PLAIN,
) -> Recording:
    """Measure a network over these examples, all of them at once.

    `statistics` are checked for values that are not finite, and otherwise not used: batch
    normalisation works with the batch's own moments, as in the first step of training. The updates
    are those of the first step of `optimiser` at `learning_rate`, which is taken on paper only.
    Raises ShapeError for arrays that do
    not fit, and IndexRangeError for symbols or targets out of range, before the pass.
    """
    contexts, targets = np.asarray(contexts), np.asarray(targets)
    _check_shapes(network, contexts, targets)
    values = as_values(parameters)
    logits, run = network.run(values, contexts)
    loss = logits.softmax_cross_entropy(targets)
    outlines, known = outline(network), nonlinearities(network)
    evaluation = evaluate(
        loss,
        data=[loss, logits, *(run.outputs[name] for each in outlines for name in each.nodes)],
        gradients=[*values.values(), *(run.outputs[each.output] for each in outlines)],
    )
    gradients = {name: evaluation.gradient[value] for name, value in values.items()}
    updates: dict[str, Number] = {}
    if optimiser != PLAIN:
        sizes = jax.device_get(_update_sizes(optimiser, dict(parameters), gradients))
        updates = {name: learning_rate * float(size) for name, size in sizes.items()}
    ends: list[FlatEnds] = [
        (None, None) if o.nonlinearity is None else flat_ends(known[name_of(o.nonlinearity) or ""])
        for o in outlines
    ]

    def measured(careful: bool) -> list[tuple[LayerMeasures, dict[str, ParameterMeasures]]]:
        def signal(x: Array) -> Packed:
            return _signal(x, careful)

        on_device = [
            (
                measurements.layer(*_arrays(each, run, evaluation), at, signal, _ends),
                {
                    own.name: _parameter(
                        parameters[own.name],
                        gradients[own.name],
                        each.kind == "embedding",
                        careful,
                    )
                    for own in each.parameters
                },
            )
            for each, at in zip(outlines, ends, strict=True)
        ]
        return fetch(on_device)

    found = measured(careful=False)
    if not all(summaries.suit_quick_sums(sums) for sums in _all_sums(found)):
        found = measured(careful=True)
    output, value = fetch((_output(evaluation.data[logits]), evaluation.data[loss]))
    layers: dict[str, Layer] = {}
    for each, (numbers, of_parameters), at in zip(outlines, found, ends, strict=True):
        described = _described(each, layers, run)
        layers[each.name] = assembly.layer(
            described,
            numbers,
            _facts(each, of_parameters, parameters, updates),
            flat_ends=at,
            gradient_scale=float(len(targets)),
            learning_rate=learning_rate,
        )
    recorded = tuple(layers.values())
    outputs = recorded[-1].activation
    assert outputs is not None
    measured_loss = assembly.loss("cross_entropy", float(value), outputs, output, targets)
    return Recording(
        framework="fanin",
        subject=_subject(network),
        examples=len(targets),
        layers=recorded,
        loss=measured_loss,
        not_finite=assembly.first_not_finite(recorded, measured_loss, dict(statistics or {})),
        shared_streams=shared_streams(
            {
                own.name: of_parameters[own.name].prefix
                for each, (_, of_parameters) in zip(outlines, found, strict=True)
                for own in each.parameters
                if not own.role.startswith("normalisation")
            }
        ),
        learning_rate=learning_rate,
        optimiser=optimiser.name,
    )


def nonlinearities(network: Network) -> dict[str, Nonlinearity]:
    """The activations of a network by the names that its recording has them under."""
    found: dict[str, Nonlinearity] = {}
    for each in outline(network):
        name = name_of(each.nonlinearity)
        if name is not None and each.nonlinearity is not None and name not in found:
            found[name] = nonlinearity_of(each.nonlinearity)
    return found


@packed
def _signal(x: Array, careful: bool) -> Signal:
    return measurements.signal(x, careful)


@packed
def _ends(before: Array, after: Array, low: float | None, high: float | None) -> Ends:
    return measurements.ends(before, after, low, high)


@packed
def _parameter(
    data: Array, gradient: Array | None, transposed: bool, careful: bool
) -> ParameterMeasures:
    """An embedding's rows are its units, and stand in columns here."""
    if data.ndim != 2:
        return measurements.parameter(data, gradient, None, careful)
    prefix = data.reshape(-1)[: measurements.PREFIX]
    if transposed:
        data, gradient = data.T, None if gradient is None else gradient.T
    probe = np.random.default_rng(data.shape[0]).standard_normal(data.shape[0], np.float32)
    return measurements.parameter(data, gradient, probe, careful)._replace(prefix=prefix)


@partial(jax.jit, static_argnums=0)
def _update_sizes(
    optimiser: Optimiser, parameters: dict[str, Array], gradients: dict[str, Array]
) -> dict[str, Array]:
    """Root mean square of each parameter's first update, for a learning rate of 1."""
    rule = optimiser.transformation()
    updates: Any
    updates, _ = rule.update(gradients, rule.init(parameters), parameters)
    return {name: jnp.sqrt(jnp.mean(update**2)) for name, update in updates.items()}


@packed
def _output(logits: Array) -> Output:
    return measurements.output(logits)


def _all_sums(
    found: list[tuple[LayerMeasures, dict[str, ParameterMeasures]]],
) -> Iterator[UnitSums]:
    for layer, parameters in found:
        for signal in (layer.preactivation, layer.normalised, layer.activation, layer.gradient):
            if signal is not None:
                yield signal.sums
        for own in parameters.values():
            yield own.data
            if own.gradient is not None:
                yield own.gradient


def _arrays(
    each: Outline, run: Pass, evaluation: Evaluation
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Pre-activation, normalised, activation of a layer, and the gradient of the last of them."""
    before = run.outputs[each.before]
    normalised = run.outputs[each.normalised] if each.normalised else None
    after = run.outputs[each.after] if each.after else None
    last = run.outputs[each.output]
    data, gradient = evaluation.data, evaluation.gradient
    return (
        data[before],
        None if normalised is None else data[normalised],
        None if after is None else data[after],
        gradient[last],
    )


def _described(each: Outline, layers: dict[str, Layer], run: Pass) -> Layer:
    """A layer's names and kinds, and what it reads."""
    weight = next((own for own in each.parameters if own.name == f"{each.name}.weight"), None)
    bias = next((own for own in each.parameters if own.name == f"{each.name}.bias"), None)
    read = layers.get(each.reads[0])
    return Layer(
        name=each.name,
        kind=each.kind,
        role=each.role,
        reads=each.reads,
        units=run.outputs[each.output].shape[-1],
        weight=weight and weight.name,
        weight_shape=weight.shape if weight else (),
        fan_in=weight and weight.fan_in,
        fan_out=weight and weight.fan_out,
        branches=weight.branches if weight else 0,
        nonlinearity_before=name_of(each.nonlinearity_before),
        nonlinearity=name_of(each.nonlinearity),
        normalisation=each.normalisation,
        bias=bias.name if bias and bias.role in ("bias", "output bias") else None,
        input=read and read.activation,
    )


def _facts(
    each: Outline,
    measured: dict[str, ParameterMeasures],
    parameters: Parameters,
    updates: dict[str, Number],
) -> tuple[ParameterFacts, ...]:
    def columns(name: str) -> Any:
        array = np.asarray(parameters[name])
        return array.T if each.kind == "embedding" else array

    return tuple(
        ParameterFacts(
            name=own.name,
            shape=own.shape,
            role=own.role,
            measures=measured[own.name],
            columns=partial(columns, own.name) if len(own.shape) == 2 else None,
            update=updates.get(own.name),
        )
        for own in each.parameters
    )


def _check_shapes(network: Network, contexts: np.ndarray, targets: np.ndarray) -> None:
    """Raises ShapeError where contexts and targets do not fit each other or the network."""
    fits = contexts.ndim == 2 and contexts.shape[1] == network.block
    if not fits or targets.shape != contexts.shape[:1] or not len(targets):
        raise ShapeError(
            f"a diagnosis takes contexts of shape [examples, {network.block}] and as many targets; "
            f"found {list(contexts.shape)} and {list(targets.shape)}"
        )


def _subject(network: Network) -> str:
    settings = ", ".join(
        f"{name} {_sizes(value) if isinstance(value, list) else value}"
        for name, value in network.describe().items()
        if name != "kind" and value not in (None, False)
    )
    return f"{type(network).__name__} ({settings})"


def _sizes(sizes: list[int]) -> str:
    """5 × 200 for layers of one size."""
    if len(sizes) > 1 and len(set(sizes)) == 1:
        return f"{len(sizes)} × {sizes[0]}"
    return ", ".join(map(str, sizes))
