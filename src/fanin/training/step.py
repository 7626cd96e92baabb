"""One training step, and many of them as one compiled program."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, PRNGKeyArray

from fanin.autograd import evaluate
from fanin.networks import Network, Parameters, as_values, batch_statistics
from fanin.training.optimiser import Optimiser
from fanin.training.options import Schedule

# Draws of this many steps are made at once, since the generator runs several times as fast on many
# keys as on one; a call trains as many of these steps as it is told to.
STEPS_AT_ONCE = 1024

# How much of a running moment each batch replaces: an average over the last hundred batches.
STATISTICS_MOMENTUM = 0.01


def loss_and_gradient(
    network: Network,
    parameters: Parameters,
    contexts: Integer[Any, "batch block"],
    targets: Integer[Any, " batch"],
) -> tuple[Float[Array, ""], dict[str, Array], dict[str, Array]]:
    """The mean loss, its gradient by parameter, and the moments that batch normalisation met."""
    values = as_values(parameters)
    logits, run = network.run(values, contexts)
    loss = logits.softmax_cross_entropy(targets)
    evaluation = evaluate(loss)
    gradient = {
        name: jnp.zeros_like(parameters[name]) if part is None else part
        for name, part in ((name, evaluation.gradient[value]) for name, value in values.items())
    }
    return evaluation.data[loss], gradient, batch_statistics(run, evaluation)


def learning_rate(
    schedule: Schedule,
    lr: float | Float[Any, ""],
    steps: int | Integer[Any, ""],
    warm_up: int | Integer[Any, ""],
    t: int | Integer[Any, ""],
) -> float | Float[Any, ""]:
    """The rate of step t of so many."""
    if schedule == "step":
        lr = jnp.where(2 * t < steps, lr, 0.1 * lr)
    elif schedule == "cosine":
        share = (t - warm_up) / jnp.maximum(steps - warm_up, 1)
        lr = lr * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1)))
    return jnp.where(t < warm_up, lr * (t + 1) / jnp.maximum(warm_up, 1), lr)


def draw_examples(
    key: PRNGKeyArray, t: int | Integer[Any, ""], batch: int, count: int | Integer[Any, ""]
) -> Integer[Array, " batch"]:
    """Which examples make the mini-batch of step t: drawn with replacement, from `key` and t."""
    return jax.random.randint(jax.random.fold_in(key, t), (batch,), 0, count)


def advance(
    network: Network,
    batch: int,
    schedule: Schedule,
    optimiser: Optimiser,
    state: Mapping[str, Any],
    contexts: Integer[Array, "examples block"],
    targets: Integer[Array, " examples"],
    key: PRNGKeyArray,
    lr: Float[Array, ""],
    steps: Integer[Array, ""],
    warm_up: Integer[Array, ""],
    count: Integer[Array, ""],
) -> tuple[dict[str, Any], Float[Array, " steps"], Bool[Array, ""]]:
    """Train `count` steps, at most `steps_at_once(batch)`, from the state's step on.

    `steps` is the length of the whole run, which the schedule hangs on. Returns the state after
    them, the loss of each (zeros after `count`) and whether all of the state is finite. The number
    of steps is an argument and no part of the program, so how a run is cut into calls changes no
    bit of it.
    """
    first, update_rule = state["step"], optimiser.transformation()
    at_once = steps_at_once(batch)
    examples = jax.vmap(lambda t: draw_examples(key, t, batch, targets.shape[0]))(
        first + jnp.arange(at_once)
    )
    batches = contexts[examples].astype(jnp.int32), targets[examples].astype(jnp.int32)

    def step(index: Array, carry: tuple[Any, Any, Any, Array]) -> tuple[Any, Any, Any, Array]:
        parameters, statistics, memory, losses = carry
        # Without a sign, as it needs no look whether it counts from the end.
        place = index.astype(jnp.uint32)
        loss, gradient, moments = loss_and_gradient(
            network,
            parameters,
            *(jax.lax.dynamic_index_in_dim(part, place, keepdims=False) for part in batches),
        )
        rate = learning_rate(schedule, lr, steps, warm_up, first + index)
        updates: Any
        updates, memory = update_rule.update(gradient, memory, parameters)
        parameters = {name: parameters[name] - rate * updates[name] for name in parameters}
        statistics = {
            name: old + STATISTICS_MOMENTUM * (moments[name] - old)
            for name, old in statistics.items()
        }
        losses = jax.lax.dynamic_update_index_in_dim(losses, loss, place, 0)
        return parameters, statistics, memory, losses

    begin = (state["parameters"], state["statistics"], state["optimiser"], jnp.zeros(at_once))
    parameters, statistics, memory, losses = jax.lax.fori_loop(0, count, step, begin)
    finite = jnp.all(
        jnp.array(
            [jnp.isfinite(a).all() for a in jax.tree.leaves((parameters, statistics, memory))]
        )
    )
    after = {
        "step": first + count,
        "parameters": parameters,
        "statistics": statistics,
        "optimiser": memory,
    }
    return after, losses, finite


train_steps = jax.jit(advance, static_argnames=("network", "batch", "schedule", "optimiser"))
"""`advance`, compiled."""


def steps_at_once(batch: int) -> int:
    """How many steps one call can train.

    Fewer where batches are large: a call that trains only some of them has drawn them all.
    """
    return max(1, min(STEPS_AT_ONCE, 2**17 // batch))
