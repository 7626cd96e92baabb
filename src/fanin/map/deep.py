"""The network of a map's cells: of any depth by one compiled program.

Its hidden layers are stacked, row below row, and a loop goes over as many of them as a cell is
deep. So the depth is a number that the program is given, like the gain, and no part of it. Where
cells of many depths are computed side by side, the loop goes over all layers of the map, and those
that a cell has not pass on what they are given.

What goes from layer to layer are the weighted sums, without the bias: the next layer adds it in the
one pass over them that its activation makes anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Integer

from fanin.autograd.normalisation import EPSILON
from fanin.networks.activations import find_activation
from fanin.networks.layers import NormalisationKind

Pytree: TypeAlias = Any

Layer: TypeAlias = dict[str, Array]
"""A hidden layer, or a stack of them, with so many more rows: `bias` [1, units], with normalisation
`gain` and `shift` [1, units], and `weight` [units, units] from it to the next."""

OUTPUT_GAIN = 0.1  # as the start `fanin` has it: near-uniform guesses at first


@final
@dataclass(frozen=True)
class DeepNetwork:
    """Embedding, hidden layers of one width, logits.

    Pre-activations go z ← W f(z) + b from layer to layer, with normalisation before f where asked
    for, and z ← z + W f(z) + b with `residual`; the logits read f of the last ones.
    """

    vocabulary: int
    block: int
    embedding: int
    width: int
    activation: str = "tanh"
    normalisation: NormalisationKind | None = None
    residual: bool = False

    def draw(self, key: Array, layers: int) -> Pytree:
        """Standard draws for so many layers; those of a layer hang on its place alone."""
        fan_in, width = self.block * self.embedding, self.width
        keys = jax.random.split(key, 4)

        def layer(place: Array) -> Layer:
            own = jax.random.split(jax.random.fold_in(keys[0], place))
            return {
                "weight": jax.random.normal(own[0], (width, width)) / width**0.5,
                "bias": jax.random.normal(own[1], (width,)),
            }

        stacked = jax.lax.map(layer, jnp.arange(layers))
        stacked["weight"] = stacked["weight"].reshape(layers * width, width)
        if self.normalisation is not None:
            stacked["gain"] = jnp.ones((layers, width))
            stacked["shift"] = jnp.zeros((layers, width))
        output = jax.random.normal(keys[3], (width, self.vocabulary))
        return {
            "embedding": jax.random.normal(keys[1], (self.vocabulary, self.embedding)),
            "first": jax.random.normal(keys[2], (fan_in, width)) / fan_in**0.5,
            "layers": stacked,
            "output": {
                "weight": output * (OUTPUT_GAIN / width**0.5),
                "bias": jnp.zeros(self.vocabulary),
            },
        }

    def start(self, draws: Pytree, gain: Array, sigma_b: Array) -> Pytree:
        """The parameters of a gain and a deviation of biases: all hidden layers alike."""
        layers = draws["layers"]
        scaled = {"weight": gain * layers["weight"], "bias": sigma_b * layers["bias"]}
        return {**draws, "first": gain * draws["first"], "layers": {**layers, **scaled}}

    def activate(
        self, layer: Layer, sums: Float[Array, "batch units"], examples: int = 0
    ) -> Float[Array, "batch units"]:
        """f of the pre-activations, normalised where asked for.

        `sums` are the weighted sums, without the bias. `examples` is their axis of examples: where
        it is 1, all is turned, the layer's parts too.
        """
        z = sums + layer["bias"]
        if self.normalisation is not None:
            axis = examples if self.normalisation == "batch" else 1 - examples
            centred = z - z.mean(axis, keepdims=True)
            spread = jnp.sqrt((centred * centred).mean(axis, keepdims=True) + EPSILON)
            z = centred / spread * layer["gain"] + layer["shift"]
        return find_activation(self.activation)(z)

    def through(
        self, layer: Layer, sums: Float[Array, "batch units"], examples: int = 0
    ) -> Float[Array, "batch units"]:
        """The next layer's weighted sums; `examples` as above."""
        activated, weight = self.activate(layer, sums, examples), layer["weight"]
        following = weight @ activated if examples else activated @ weight
        return sums + layer["bias"] + following if self.residual else following

    def first(
        self,
        embedding: Float[Array, "vocab embedding"],
        weight: Float[Array, "fan_in units"],
        contexts: Integer[Array, "batch block"],
    ) -> Float[Array, "batch units"]:
        """The first hidden layer's weighted sums."""
        return embedding[contexts].reshape(contexts.shape[0], -1) @ weight

    def loss(
        self,
        output: dict[str, Array],
        layer: Layer,
        sums: Float[Array, "batch units"],
        targets: Integer[Array, " batch"],
    ) -> Float[Array, ""]:
        """The mean cross-entropy from the last weighted sums, in nats per symbol."""
        logits = self.activate(layer, sums) @ output["weight"] + output["bias"]
        chosen = jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()


@final
@dataclass(frozen=True)
class Depth:
    """How many hidden layers a cell has, and, of cells side by side, the most that one may have."""

    layers: Any
    most: int | None = None

    def upward(self, visit: "Visit", carry: Pytree) -> Pytree:
        """The carry after a visit to each layer between two hidden ones, from the first on."""

        def each(place: Any, carry: Pytree) -> Pytree:
            return visit(place, self._has(place), carry)

        return jax.lax.fori_loop(0, self._between, each, carry)

    def downward(self, visit: "Visit", carry: Pytree) -> Pytree:
        """The same from the last to the first."""

        def each(done: Any, carry: Pytree) -> Pytree:
            place = self._between - 1 - done
            return visit(place, self._has(place), carry)

        return jax.lax.fori_loop(0, self._between, each, carry)

    @property
    def _between(self) -> Any:
        return (self.layers if self.most is None else self.most) - 1

    def _has(self, place: Any) -> Any:
        return True if self.most is None else place < self.layers - 1


Visit: TypeAlias = Callable[[Any, Any, Pytree], Pytree]
"""(place, whether the cell has that layer, carry) to the carry: `True` where all have it."""


def if_there(there: Any, after: Pytree, before: Pytree) -> Pytree:
    """What a visit makes of it, where the cell has the layer."""
    if there is True:
        return after
    return jax.tree.map(lambda one, other: jnp.where(there, one, other), after, before)


def room(network: DeepNetwork, layers: int, examples: int) -> Float[Array, "stacked units"]:
    """Room for the weighted sums of so many layers and examples."""
    return jnp.zeros((layers * examples, network.width))


def rows(stacked: Array, place: Any, count: int) -> Array:
    """Those of one layer, `count` to a layer."""
    return jax.lax.dynamic_slice_in_dim(stacked, place * count, count)


def at(layers: Layer, place: Any) -> Layer:
    """One layer of a stack."""
    count = layers["bias"].shape[0]
    return {name: rows(part, place, part.shape[0] // count) for name, part in layers.items()}


def put(stacked: Pytree, layer: Pytree, place: Any) -> Pytree:
    """The stack with one layer replaced."""
    return jax.tree.map(
        lambda part, one: jax.lax.dynamic_update_slice_in_dim(part, one, place * one.shape[0], 0),
        stacked,
        layer,
    )


def forward(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    depth: Depth,
    kept: Float[Array, "stacked units"],
) -> tuple[Float[Array, "batch units"], Float[Array, "stacked units"]]:
    """The last weighted sums, and `kept`, into which those of the layers before are put."""
    sums = network.first(parameters["embedding"], parameters["first"], contexts)
    layers = parameters["layers"]

    def onward(place: Any, there: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        sums, kept = carry
        following = network.through(at(layers, place), sums)
        return if_there(there, following, sums), put(kept, sums, place)

    return depth.upward(onward, (sums, kept))


def last_only(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    depth: Depth,
) -> Float[Array, "batch units"]:
    """The last weighted sums; what came before is not kept."""
    layers = parameters["layers"]

    def onward(place: Any, there: Any, sums: Array) -> Array:
        return if_there(there, network.through(at(layers, place), sums), sums)

    first = network.first(parameters["embedding"], parameters["first"], contexts)
    return depth.upward(onward, first)


def train_step(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    targets: Integer[Array, " batch"],
    depth: Depth,
    lr: Any,
    kept: Float[Array, "stacked units"],
) -> tuple[Pytree, Float[Array, ""], Float[Array, "stacked units"]]:
    """One step of gradient descent: the parameters after it, and the loss before it.

    `kept` is room for the weighted sums of all layers, and is given back for the next step.
    """

    def down(part: Pytree, gradient: Pytree, lr: Any = lr) -> Pytree:
        return jax.tree.map(lambda p, g: p - lr * g, part, gradient)

    sums, kept = forward(network, parameters, contexts, depth, kept)
    last = at(parameters["layers"], depth.layers - 1)

    def loss_from(output: Pytree, layer: Layer, sums: Array) -> Array:
        return network.loss(output, layer, sums, targets)

    loss, pull = jax.vjp(loss_from, parameters["output"], last, sums)
    output_gradient, last_gradient, above = pull(jnp.ones_like(loss))

    def through_turned(layer: Layer, sums: Array) -> Array:
        return network.through({name: part.T for name, part in layer.items()}, sums, examples=1)

    def visit(place: Any, there: Any, carry: tuple[Array, Layer]) -> tuple[Array, Layer]:
        above, layers = carry
        # On the way back an example is a column: so neither of the two products turns the weight.
        sums = jax.lax.optimization_barrier(rows(kept, place, contexts.shape[0]).T)
        layer = at(layers, place)
        _, pull = jax.vjp(through_turned, layer, sums)
        gradient, below = pull(above)
        # A layer is written over only when the gradient below it is there, which reads it too: XLA
        # would copy the whole stack at each layer otherwise, ten times the time of the rest.
        stepped = down(layer, gradient, lr + 0.0 * below[0, 0])
        return if_there(there, below, above), put(layers, if_there(there, stepped, layer), place)

    above, layers = depth.downward(visit, (above.T, parameters["layers"]))
    for name in sorted(last.keys() - {"weight"}):  # nothing comes after the last hidden layer
        own = down(last[name], last_gradient[name])
        layers = {**layers, name: put(layers[name], own, depth.layers - 1)}

    def first_from(embedding: Array, first: Pytree) -> Array:
        return network.first(embedding, first, contexts)

    _, pull = jax.vjp(first_from, parameters["embedding"], parameters["first"])
    embedding_gradient, first_gradient = pull(above.T)
    after = {
        "embedding": down(parameters["embedding"], embedding_gradient),
        "first": down(parameters["first"], first_gradient),
        "layers": layers,
        "output": down(parameters["output"], output_gradient),
    }
    return after, loss, kept
