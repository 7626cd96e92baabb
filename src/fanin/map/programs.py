"""The compiled programs of a map: a tile of cells on a device, trained or looked at.

As in a race, a tile holds a fixed number of cells, so that a cell's numbers hang on nothing of its
company. Where that is more than one, `most` is the depth of the map's deepest: were each cell's own
depth the length of its loop, every layer would move the weights of all.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fanin.diagnosis.ends import flat_ends
from fanin.diagnosis.measurements import cosines, ends
from fanin.map.deep import (
    DeepNetwork,
    Depth,
    at,
    forward,
    if_there,
    last_only,
    room,
    rows,
    train_step,
)
from fanin.map.plan import Cell
from fanin.networks.activations import nonlinearity_of
from fanin.race.tiles import side_by_side


@lru_cache(maxsize=64)
def draws(network: DeepNetwork, layers: int) -> Any:
    """(key) to the standard draws that all cells of one width share."""
    return jax.jit(lambda key: network.draw(key, layers))


@lru_cache(maxsize=64)
def training(network: DeepNetwork, most: int | None) -> Any:
    """(settings, draws, contexts, targets, dev contexts, dev targets) to three losses by cell.

    Contexts and targets are by step. The losses are of the first batch before its step, the mean
    over the last tenth of the steps, and that of the dev examples after all, NaN where the cell
    diverged. With batch normalisation those dev examples are their own batch.
    """

    def one(
        cell: Any, draws: Any, contexts: Any, targets: Any, dev_contexts: Any, dev_targets: Any
    ) -> Float[Array, " 3"]:
        depth = Depth(cell["depth"], most)
        steps, batch = contexts.shape[:2]

        def is_alive(losses: Array, t: Any) -> Any:
            # A cell whose loss is no number any more has said what it has to say.
            return (t == 0) | jnp.isfinite(losses[t - 1])

        def goes_on(carry: tuple[Any, Any, Array, Array]) -> Any:
            t, _, losses, _ = carry
            return (t < steps) & is_alive(losses, t)

        def step(carry: tuple[Any, Any, Array, Array]) -> tuple[Any, Any, Array, Array]:
            t, parameters, losses, kept = carry
            parameters, loss, kept = train_step(
                network, parameters, contexts[t], targets[t], depth, cell["lr"], kept
            )
            loss = jnp.where(is_alive(losses, t), loss, jnp.nan)
            return t + 1, parameters, losses.at[t].set(loss), kept

        started = network.start(draws, cell["gain"], cell["sigma_b"])
        layers = started["layers"]["bias"].shape[0]
        begin = (0, started, jnp.full(steps, jnp.nan), room(network, layers, batch))
        if most is None:
            _, parameters, losses, _ = jax.lax.while_loop(goes_on, step, begin)
        else:
            _, parameters, losses, _ = jax.lax.fori_loop(0, steps, lambda _, c: step(c), begin)
        sums = last_only(network, parameters, dev_contexts, depth)
        last = at(parameters["layers"], cell["depth"] - 1)
        dev = network.loss(parameters["output"], last, sums, dev_targets)
        return jnp.stack([losses[0], losses[-max(1, steps // 10) :].mean(), dev])

    return jax.jit(side_by_side(one, mapped=1, shared=5))


@lru_cache(maxsize=64)
def looking(network: DeepNetwork, most: int | None) -> Any:
    """(settings, draws, contexts, targets) to three measures of step 0 by cell.

    They are log10 of the root mean square of the loss's gradient at the first hidden layer's
    pre-activations over that at the last's, the share of saturated outputs of the last hidden
    layer, and the mean correlation E[u₁u₂]/q of two examples in its pre-activations.
    """
    low, high = flat_ends(nonlinearity_of(network.activation))

    def one(cell: Any, draws: Any, contexts: Any, targets: Any) -> Float[Array, " 3"]:
        parameters = network.start(draws, cell["gain"], cell["sigma_b"])
        kept = room(network, parameters["layers"]["bias"].shape[0], contexts.shape[0])
        depth = Depth(cell["depth"], most)
        sums, kept = forward(network, parameters, contexts, depth, kept)
        layers = parameters["layers"]
        last = at(layers, cell["depth"] - 1)
        above = jax.grad(lambda sums: network.loss(parameters["output"], last, sums, targets))(sums)

        def visit(place: Any, there: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            # Brought to one size in each layer: over sixty of them float32 would not hold it.
            above, growth = carry
            layer = at(layers, place)
            sums = rows(kept, place, contexts.shape[0])
            _, pull = jax.vjp(lambda sums: network.through(layer, sums), sums)
            (below,) = pull(above)
            size = _size(below)
            return if_there(there, (below / size, growth + jnp.log10(size)), carry)

        _, growth = depth.downward(visit, (above / _size(above), jnp.zeros(())))
        z, activated = sums + last["bias"], network.activate(last, sums)
        beyond = ends(z, activated, low, high)
        flat = (beyond.low.sum() + beyond.high.sum()) / z.size
        alike = cosines(z)
        correlation = (alike.examples * alike.mean - 1) / (alike.examples - 1)
        finite = jnp.isfinite(z).all()
        return jnp.where(finite, jnp.stack([growth, flat, correlation]), jnp.nan)

    return jax.jit(side_by_side(one, mapped=1, shared=3))


def _size(x: Array) -> Array:
    largest = jnp.abs(x).max()
    return largest * jnp.sqrt(jnp.square(x / largest).mean())


def settings_of(cells: Sequence[Cell]) -> Any:
    """What the programs take of each cell."""
    return {
        "gain": np.array([cell.gain for cell in cells], np.float32),
        "sigma_b": np.array([cell.sigma_b for cell in cells], np.float32),
        "lr": np.array([cell.lr for cell in cells], np.float32),
        "depth": np.array([cell.depth for cell in cells], np.int32),
    }
