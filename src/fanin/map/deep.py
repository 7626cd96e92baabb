"""The network of a map's cells: of any depth by one compiled program.

Its hidden layers are stacked, and a loop goes over as many of them as a cell is deep. So the depth
is a number that the program is given, like the gain, and no part of the program.
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
        keys = jax.random.split(key, 5)

        def layer(place: Array) -> dict[str, Array]:
            own = jax.random.split(jax.random.fold_in(keys[0], place))
            return {
                "weight": jax.random.normal(own[0], (width, width)) / width**0.5,
                "bias": jax.random.normal(own[1], (width,)),
            }

        stacked = jax.lax.map(layer, jnp.arange(layers))
        if self.normalisation is not None:
            stacked["gain"] = jnp.ones((layers, width))
            stacked["shift"] = jnp.zeros((layers, width))
        output = jax.random.normal(keys[4], (width, self.vocabulary))
        return {
            "embedding": jax.random.normal(keys[1], (self.vocabulary, self.embedding)),
            "first": {
                "weight": jax.random.normal(keys[2], (fan_in, width)) / fan_in**0.5,
                "bias": jax.random.normal(keys[3], (width,)),
            },
            "layers": stacked,
            "output": {
                "weight": output * (OUTPUT_GAIN / width**0.5),
                "bias": jnp.zeros(self.vocabulary),
            },
        }

    def start(self, draws: Pytree, gain: Array, sigma_b: Array) -> Pytree:
        """The parameters of a gain and a deviation of biases: all hidden layers alike."""

        def scaled(part: dict[str, Array]) -> dict[str, Array]:
            return {**part, "weight": gain * part["weight"], "bias": sigma_b * part["bias"]}

        return {**draws, "first": scaled(draws["first"]), "layers": scaled(draws["layers"])}

    def activate(
        self, layer: dict[str, Array], z: Float[Array, "batch units"]
    ) -> Float[Array, "batch units"]:
        """f of the pre-activations, normalised where asked for."""
        if self.normalisation is not None:
            axis = 0 if self.normalisation == "batch" else -1
            centred = z - z.mean(axis, keepdims=True)
            spread = jnp.sqrt((centred * centred).mean(axis, keepdims=True) + EPSILON)
            z = centred / spread * layer["gain"] + layer["shift"]
        return find_activation(self.activation)(z)

    def through(
        self, layer: dict[str, Array], z: Float[Array, "batch units"]
    ) -> Float[Array, "batch units"]:
        """The next layer's pre-activations."""
        following = self.activate(layer, z) @ layer["weight"] + layer["bias"]
        return z + following if self.residual else following

    def first(
        self,
        embedding: Float[Array, "vocab embedding"],
        first: dict[str, Array],
        contexts: Integer[Array, "batch block"],
    ) -> Float[Array, "batch units"]:
        """The first hidden layer's pre-activations."""
        inputs = embedding[contexts].reshape(contexts.shape[0], -1)
        return inputs @ first["weight"] + first["bias"]

    def loss(
        self,
        output: dict[str, Array],
        layer: dict[str, Array],
        z: Float[Array, "batch units"],
        targets: Integer[Array, " batch"],
    ) -> Float[Array, ""]:
        """The mean cross-entropy from the last pre-activations, in nats per symbol."""
        logits = self.activate(layer, z) @ output["weight"] + output["bias"]
        chosen = jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()


def room(network: DeepNetwork, layers: int, examples: int) -> Float[Array, "layers batch units"]:
    """Room for the pre-activations of so many layers and examples."""
    return jnp.zeros((layers, examples, network.width))


def at(stacked: Pytree, place: Any) -> Pytree:
    """One layer of a stack."""
    return jax.tree.map(
        lambda part: jax.lax.dynamic_index_in_dim(part, place, keepdims=False), stacked
    )


def put(stacked: Pytree, layer: Pytree, place: Any) -> Pytree:
    """The stack with one layer replaced."""
    return jax.tree.map(
        lambda part, one: jax.lax.dynamic_update_index_in_dim(part, one, place, 0), stacked, layer
    )


def forward(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    depth: Any,
    kept: Float[Array, "layers batch units"],
) -> tuple[Float[Array, "batch units"], Float[Array, "layers batch units"]]:
    """The last pre-activations, and those of all layers, which are put into `kept`."""
    z = network.first(parameters["embedding"], parameters["first"], contexts)
    layers = parameters["layers"]

    def onward(place: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        z, kept = carry
        return network.through(at(layers, place), z), put(kept, z, place)

    z, kept = jax.lax.fori_loop(0, depth - 1, onward, (z, kept))
    return z, put(kept, z, depth - 1)


def last_only(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    depth: Any,
) -> Float[Array, "batch units"]:
    """The last pre-activations; what came before is not kept."""
    z = network.first(parameters["embedding"], parameters["first"], contexts)
    layers = parameters["layers"]

    def onward(place: Any, z: Array) -> Array:
        return network.through(at(layers, place), z)

    return jax.lax.fori_loop(0, depth - 1, onward, z)


def backward(depth: Any, visit: Callable[[Any, Pytree], Pytree], carry: Pytree) -> Pytree:
    """The carry after a visit to each layer between two hidden ones, from the last to the first."""
    return jax.lax.fori_loop(0, depth - 1, lambda i, carry: visit(depth - 2 - i, carry), carry)


def train_step(
    network: DeepNetwork,
    parameters: Pytree,
    contexts: Integer[Array, "batch block"],
    targets: Integer[Array, " batch"],
    depth: Any,
    lr: Any,
    kept: Float[Array, "layers batch units"],
) -> tuple[Pytree, Float[Array, ""], Float[Array, "layers batch units"]]:
    """One step of gradient descent: the parameters after it, and the loss before it.

    `kept` is room for the pre-activations of all layers, and is given back for the next step.
    """

    def down(part: Pytree, gradient: Pytree, lr: Any = lr) -> Pytree:
        return jax.tree.map(lambda p, g: p - lr * g, part, gradient)

    z, kept = forward(network, parameters, contexts, depth, kept)
    last = at(parameters["layers"], depth - 1)

    def loss_from(output: Pytree, layer: Pytree, z: Array) -> Array:
        return network.loss(output, layer, z, targets)

    loss, pull = jax.vjp(loss_from, parameters["output"], last, z)
    output_gradient, last_gradient, above = pull(jnp.ones_like(loss))

    def visit(place: Any, carry: tuple[Array, Pytree]) -> tuple[Array, Pytree]:
        above, layers = carry
        # Read from the stack once; without the barrier once for the pullback, once for the update.
        layer = jax.lax.optimization_barrier(at(layers, place))
        _, pull = jax.vjp(network.through, layer, at(kept, place))
        gradient, below = pull(above)
        # A layer is written over only when the gradient below it is there, which reads it too: XLA
        # would copy the whole stack at each layer otherwise, ten times the time of the rest.
        return below, put(layers, down(layer, gradient, lr + 0.0 * below[0, 0]), place)

    above, layers = backward(depth, visit, (above, parameters["layers"]))
    for name in ("gain", "shift"):  # of the last hidden layer, which has no more than these two
        if name in layers:
            own = down(last[name], last_gradient[name])
            layers = {**layers, name: put(layers[name], own, depth - 1)}

    def first_from(embedding: Array, first: Pytree) -> Array:
        return network.first(embedding, first, contexts)

    _, pull = jax.vjp(first_from, parameters["embedding"], parameters["first"])
    embedding_gradient, first_gradient = pull(above)
    after = {
        "embedding": down(parameters["embedding"], embedding_gradient),
        "first": down(parameters["first"], first_gradient),
        "layers": layers,
        "output": down(parameters["output"], output_gradient),
    }
    return after, loss, kept
