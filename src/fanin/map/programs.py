"""The compiled programs of a map: a tile of cells on a device, trained or looked at.

As in a race, a tile holds a fixed number of cells, so that a cell's numbers hang on nothing of its
company.
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
from fanin.map.deep import DeepNetwork, at, backward, forward, last_only, room, rows, train_step
from fanin.map.plan import Cell
from fanin.networks.activations import nonlinearity_of
from fanin.race.tiles import side_by_side


@lru_cache(maxsize=64)
def draws(network: DeepNetwork, layers: int) -> Any:
    """(key) to the standard draws that all cells of one width share."""
    return jax.jit(lambda key: network.draw(key, layers))


@lru_cache(maxsize=64)
def training(network: DeepNetwork) -> Any:
    """(settings, draws, contexts, targets, dev contexts, dev targets) to three losses by cell.

    Contexts and targets are by step. The losses are of the first batch before its step, the mean
    over the last tenth of the steps, and that of the dev examples after all, NaN where the cell
    diverged. With batch normalisation those dev examples are their own batch.
    """

    def one(
        cell: Any, draws: Any, contexts: Any, targets: Any, dev_contexts: Any, dev_targets: Any
    ) -> Float[Array, " 3"]:
        steps = contexts.shape[0]

        def goes_on(carry: tuple[Any, Any, Array, Array]) -> Any:
            t, _, losses, _ = carry
            # A cell whose loss is no number any more has said what it has to say.
            return (t < steps) & ((t == 0) | jnp.isfinite(losses[t - 1]))

        def step(carry: tuple[Any, Any, Array, Array]) -> tuple[Any, Any, Array, Array]:
            t, parameters, losses, kept = carry
            parameters, loss, kept = train_step(
                network, parameters, contexts[t], targets[t], cell["depth"], cell["lr"], kept
            )
            return t + 1, parameters, losses.at[t].set(loss), kept

        started = network.start(draws, cell["gain"], cell["sigma_b"])
        losses = jnp.full(steps, jnp.nan)
        layers, batch = started["layers"]["bias"].shape[0], contexts.shape[1]
        begin = (0, started, losses, room(network, layers, batch))
        _, parameters, losses, _ = jax.lax.while_loop(goes_on, step, begin)
        sums = last_only(network, parameters, dev_contexts, cell["depth"])
        last = at(parameters["layers"], cell["depth"] - 1)
        dev = network.loss(parameters["output"], last, sums, dev_targets)
        return jnp.stack([losses[0], losses[-max(1, steps // 10) :].mean(), dev])

    return jax.jit(side_by_side(one, mapped=1, shared=5))


@lru_cache(maxsize=64)
def looking(network: DeepNetwork) -> Any:
    """(settings, draws, contexts, targets) to three measures of step 0 by cell.

    They are log10 of the root mean square of the loss's gradient at the first hidden layer's
    pre-activations over that at the last's, the share of saturated outputs of the last hidden
    layer, and the mean correlation E[u₁u₂]/q of two examples in its pre-activations.
    """
    low, high = flat_ends(nonlinearity_of(network.activation))

    def one(cell: Any, draws: Any, contexts: Any, targets: Any) -> Float[Array, " 3"]:
        parameters = network.start(draws, cell["gain"], cell["sigma_b"])
        kept = room(network, parameters["layers"]["bias"].shape[0], contexts.shape[0])
        sums, kept = forward(network, parameters, contexts, cell["depth"], kept)
        layers = parameters["layers"]
        last = at(layers, cell["depth"] - 1)
        above = jax.grad(lambda sums: network.loss(parameters["output"], last, sums, targets))(sums)

        def visit(place: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            # Brought to one size in each layer: over sixty of them float32 would not hold it.
            above, growth = carry
            layer = at(layers, place)
            sums = rows(kept, place, contexts.shape[0])
            _, pull = jax.vjp(lambda sums: network.through(layer, sums), sums)
            (below,) = pull(above)
            size = _size(below)
            return below / size, growth + jnp.log10(size)

        _, growth = backward(cell["depth"], visit, (above / _size(above), jnp.zeros(())))
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
