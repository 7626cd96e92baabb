"""Write docs/starts.md: what each start does at step 0, measured and expected side by side.

python scripts/starts_page.py
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanin.autograd import evaluate
from fanin.corpus import Corpus, Examples, bundled_names
from fanin.errors import OptionError
from fanin.networks import ACTIVATIONS, CharacterMLP, find_activation
from fanin.networks.network import as_values
from fanin.starts import OPTIONS, SCHEMES, Scheme
from fanin.starts.expected import expected_moments, expected_parts
from fanin.theory import (
    Linear,
    NoTheory,
    exact_gains,
    find_nonlinearity,
    fixed_point,
    forward_gain,
    gradient_moments,
)

PAGE = Path(__file__).parents[1] / "docs" / "starts.md"
WIDTH = 200
DEPTHS = (1, 5, 20)
VOCABULARY, EMBEDDING, BLOCK = 27, 10, 3
EXAMPLES = 256
MEASURED = 8
"""Networks that a measured figure is the geometric mean of."""
SIMULATED = 24
"""Networks that a tolerance comes from."""
FLOOR = 0.01
"""What the choice of 256 examples leaves open of a second moment's logarithm."""


@dataclass(frozen=True)
class Row:
    """Logarithms of three second moments: pre-activation, activation, growth of the gradient."""

    measured: np.ndarray
    expected: np.ndarray | NoTheory
    tolerance: np.ndarray

    @property
    def agrees(self) -> np.ndarray:
        assert not isinstance(self.expected, NoTheory)
        return ~(np.abs(self.measured - self.expected) > self.tolerance)


@lru_cache
def corpus() -> Corpus:
    return Corpus.of(bundled_names())


@lru_cache
def examples() -> Examples:
    train = corpus().train
    chosen = np.random.default_rng(0).choice(len(train), EXAMPLES, replace=False)
    return Examples(train.contexts[chosen], train.targets[chosen])


def network_of(activation: str, depth: int) -> CharacterMLP:
    return CharacterMLP(VOCABULARY, BLOCK, EMBEDDING, (WIDTH,) * depth, activation)


def row(scheme: Scheme, activation: str, depth: int) -> Row:
    """Measure, expect and simulate one start in one network."""
    network = network_of(activation, depth)
    measured = np.mean([measure(scheme, network, seed) for seed in range(MEASURED)], axis=0)
    expected = expect(scheme, network)
    if isinstance(expected, NoTheory):
        return Row(measured, expected, np.zeros(3))
    simulated = simulate(scheme, network) - expected
    bias, spread = simulated.mean(0), simulated.std(0, ddof=1)
    tolerance = np.abs(bias) + 3 * spread * math.sqrt(1 / MEASURED + 1 / SIMULATED) + FLOOR
    return Row(measured, expected, tolerance)


def measure(scheme: Scheme, network: CharacterMLP, seed: int) -> np.ndarray:
    """The three figures of one network, from the graph of its loss."""
    parameters = scheme(network, jax.random.key(seed), corpus().train.contexts)
    logits, run = network.run(as_values(parameters), examples().contexts.astype(np.int32))
    found = evaluate(logits.softmax_cross_entropy(examples().targets.astype(np.int32)))
    first, last = run.outputs["hidden.0"], run.outputs[last_layer(network)]
    after = run.outputs[f"{last_layer(network)}.activation"]
    growth = log_moment(found.gradient[first]) - log_moment(found.gradient[after])
    return np.array([log_moment(found.data[last]), log_moment(found.data[after]), growth])


def last_layer(network: CharacterMLP) -> str:
    return f"hidden.{len(network.hidden) - 1}"


def log_moment(array: Any) -> float:
    """The logarithm of the second moment; NaN of zeros, as of the gradient of a zero output."""
    moment = float(np.square(np.asarray(array, np.float64)).mean())
    return math.log(moment) if moment else math.nan


def expect(scheme: Scheme, network: CharacterMLP) -> np.ndarray | NoTheory:
    """The same three by theory."""
    moments = expected_moments(scheme, network)
    last, after = last_layer(network), f"{last_layer(network)}.activation"
    names = list(moments)
    growth = gradient_moments([moments[name] for name in names[1 : names.index(after) + 1]])[0]
    if isinstance(growth, NoTheory):
        return growth
    return np.log([moments[last].output.second_moment, moments[after].output.second_moment, growth])


def simulate(scheme: Scheme, network: CharacterMLP) -> np.ndarray:
    """The three in each of some networks of theory's own kind, at these widths: (networks, 3).

    Independent normal weights and biases of the variances that theory was given, a normal
    embedding of the same symbols, and a random gradient from above; no graph and no scheme.
    """
    parts = expected_parts(scheme, network)
    # Where theory takes a scheme at its word (LSUV), the gains that keep the second moment.
    gain = forward_gain(find_nonlinearity(str(network.activation)))
    deviations = [
        (part.weight_variance**0.5, part.bias_variance**0.5)
        if isinstance(part, Linear)
        else (gain if name != "hidden.0" else 1.0, 0.0)
        for name, part in parts.items()
        if name in {f"hidden.{index}" for index in range(len(network.hidden))}
    ]
    return np.asarray(_simulator(str(network.activation))(jnp.array(deviations)), np.float64)


@lru_cache
def _simulator(activation: str) -> Any:
    f = find_activation(activation)
    contexts = jnp.asarray(examples().contexts)

    def log_moment(x: jax.Array) -> jax.Array:
        largest = jnp.abs(x).max()  # whose square may be beyond float32
        return 2 * jnp.log(largest) + jnp.log(jnp.square(x / largest).mean())

    def linear(x: jax.Array, key: jax.Array, deviation: jax.Array) -> jax.Array:
        weight_key, bias_key = jax.random.split(key)
        weight = jax.random.normal(weight_key, (x.shape[1], WIDTH)) / x.shape[1] ** 0.5
        return deviation[0] * (x @ weight) + deviation[1] * jax.random.normal(bias_key, (WIDTH,))

    def one(key: jax.Array, deviations: jax.Array) -> jax.Array:
        embedding_key, first_key, above_key, rest_key = jax.random.split(key, 4)
        embedding = jax.random.normal(embedding_key, (VOCABULARY, EMBEDDING))
        inputs = embedding[contexts].reshape(EXAMPLES, -1)
        rest = (jax.random.split(rest_key, len(deviations) - 1), deviations[1:])

        def onward(first: jax.Array) -> tuple[jax.Array, jax.Array]:
            last, _ = jax.lax.scan(lambda z, layer: (linear(f(z), *layer), None), first, rest)
            return f(last), last

        after, pull, last = jax.vjp(onward, linear(inputs, first_key, deviations[0]), has_aux=True)
        above = jax.random.normal(above_key, after.shape)
        growth = log_moment(*pull(above)) - log_moment(above)
        return jnp.stack([log_moment(last), log_moment(after), growth])

    keys = jax.random.split(jax.random.key(1), SIMULATED)
    return jax.jit(lambda deviations: jax.lax.map(lambda key: one(key, deviations), keys))


def in_deep_networks(scheme: Scheme, activation: str) -> str:
    """Where theory sends the second moment from 1, layer by layer."""
    layer = expected_parts(scheme, network_of(activation, 2))["hidden.1"]
    if not isinstance(layer, Linear):
        return "held at 1" if scheme.unit_preactivations else "no theory"
    settled = fixed_point(find_nonlinearity(activation), layer.weight_variance, layer.bias_variance)
    if isinstance(settled, NoTheory):
        return "grows without bound"
    if settled.q == 0:
        return "dies away"
    if settled.stability == "neutral":
        return "stays"
    if settled.stability == "unstable":
        return f"**unstable** at {number(settled.q)}"
    return f"settles at {number(settled.q)}"


def number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return np.format_float_positional(value, 3, fractional=False, trim="-")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def cells(found: Row) -> Iterator[str]:
    """Measured / expected (×tolerance) for each figure; the first as a standard deviation."""
    for index, power in enumerate((0.5, 1, 1)):
        measured = math.exp(found.measured[index] * power)
        shown = "–" if math.isnan(measured) else number(measured)
        if isinstance(found.expected, NoTheory):
            yield f"{shown} / –"
            continue
        factor = number(math.exp(found.tolerance[index] * power))
        mark = "" if found.agrees[index] else " **≠**"
        yield f"{shown} / {number(math.exp(found.expected[index] * power))} (×{factor}){mark}"


def section(scheme: Scheme) -> Iterator[str]:
    yield f"\n## {scheme.name}\n"
    yield f"{scheme.summary[0].upper()}{scheme.summary[1:]}. ({scheme.source})\n"
    yield (
        "| activation | depth | pre-activation, standard deviation | activation, second moment "
        "| gradient, growth backwards | second moment in a deep network |"
    )
    yield "|---|---|---|---|---|---|"
    for activation in ACTIVATIONS:
        try:
            deep = in_deep_networks(scheme, activation)
            for depth in DEPTHS:
                found = " | ".join(cells(row(scheme, activation, depth)))
                yield f"| {activation} | {depth} | {found} | {deep} |"
        except OptionError as error:
            yield f"| {activation} | – | – | – | – | {error} |"


def activations() -> Iterator[str]:
    yield "| activation | forward gain | backward gain | slope | χ | unit second moment |"
    yield "|---|---|---|---|---|---|"
    for name in ACTIVATIONS:
        gains = exact_gains(find_nonlinearity(name))
        figures = (gains.forward_gain, gains.backward_gain, gains.slope, gains.chi)
        stability = gains.stability if gains.stable else f"**{gains.stability}**"
        yield f"| {name} | {' | '.join(f'{figure:.5f}' for figure in figures)} | {stability} |"


def options() -> Iterator[str]:
    yield "| option | what it sets | it takes |"
    yield "|---|---|---|"
    for option in OPTIONS.values():
        yield f"| `{option.name}` | {option.summary} | {option.takes} |"


INTRODUCTION = f"""# The starts, at step 0

Written by `python scripts/starts_page.py`: what each start does before the first step, measured in
networks and expected by theory.

## How to read the tables

A network has an embedding of {EMBEDDING}, a block of {BLOCK} and {DEPTHS[0]}, {DEPTHS[1]} or
{DEPTHS[2]} hidden layers of {WIDTH} units. A cell holds *measured / expected (×tolerance)*:

- the standard deviation of the last hidden layer's pre-activations, over units and examples, taken
  about zero;
- the second moment of the activations that they become;
- the second moment of the loss's gradient at the first layer's pre-activations, for 1 at the last
  layer's activations.

*Measured* is the geometric mean of {MEASURED} networks (seeds 0 to {MEASURED - 1}), on {EXAMPLES}
training contexts of the bundled names. *Expected* is mean-field theory from the scheme and the fans
alone (`fanin.starts.expected`), exact as the layers become wide. The *tolerance* comes from
{SIMULATED} simulated networks of theory's own kind at these widths: independent normal weights and
biases of the variances that theory was given, fed with a random embedding of the same contexts and
a random gradient. With b the mean and s the standard deviation of the logarithm of simulated over
expected, it is exp(|b| + 3 s √(1/{MEASURED} + 1/{SIMULATED}) + {FLOOR}): what finite width shifts,
what chance leaves open, and a hundredth for the choice of examples. A cell that leaves its
tolerance is marked ≠. Where nothing comes back through a zero output, the growth is a dash.

The last column says where theory sends the second moment, layer by layer, from 1. *Unstable* means
that any deviation grows with depth, whatever the gain: with gelu and silu, networks of depth 20 lie
far from the expected figure and from each other. The simulated ones do so too, hence a tolerance of
×10 and more: it does not confirm the figure, it says that none can be relied on.

## The activations
"""

OPTIONS_TEXT = """
## Options

They follow the start's name: `kaiming-normal:gain=1`, `orthogonal:gain=1.6,output=0.1`.
"""


def main() -> None:
    lines = [INTRODUCTION, *activations(), OPTIONS_TEXT, *options()]
    for scheme in SCHEMES.values():
        lines.extend(section(scheme))
        print(scheme.name, file=sys.stderr, flush=True)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
