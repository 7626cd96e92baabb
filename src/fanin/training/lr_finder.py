"""A learning-rate finder: rates raised from step to step, each loss paired with its own rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from fanin.corpus import Corpus
from fanin.errors import OptionError
from fanin.networks import Network, Parameters
from fanin.training.loop import batch_key, first_state
from fanin.training.options import MOST_FLOAT32, TrainingOptions
from fanin.training.step import draw_examples, loss_and_gradient

# Losses are measured on this many training examples, the same ones after every step: the noise of
# single mini-batches would otherwise hide what a rate did.
PROBE = 1024


# The sweep still profits from its smaller rates when the best loss is reached, so that rate is a
# little bold. Short runs at half of it end within a few hundredths of a nat of the best rate's.
SAFETY = 1 / 2


@dataclass(frozen=True)
class LearningRateSearch:
    """What a sweep of rates found.

    `losses[i]` is the loss (nats per symbol) after the step that used `rates[i]`, on the same
    examples each time; `smoothed` is their running mean, to which the suggestion looks. Both end
    where the loss is no longer finite or has left its best value far behind.
    """

    rates: Float[np.ndarray, " steps"]
    losses: Float[np.ndarray, " steps"]
    smoothed: Float[np.ndarray, " steps"]
    first_loss: float
    best_rate: float
    suggestion: float
    at_edge: bool
    """Whether the best rate is the highest tried, so that higher ones may do better."""


def find_learning_rate(
    network: Network,
    parameters: Parameters,
    corpus: Corpus,
    options: TrainingOptions | None = None,
    *,
    lowest: float = 1e-4,
    highest: float = 10.0,
    steps: int = 1000,
) -> LearningRateSearch:
    """Train a copy of the parameters with ever larger rates, and suggest one of them.

    The batch size, optimiser and seed are those of `options`; the parameters stay as they are.
    Raises OptionError for rates or steps that make no sweep.
    """
    *_, found = learning_rate_sweep(
        network,
        parameters,
        corpus,
        options,
        lowest=lowest,
        highest=highest,
        steps=steps,
        chunk=steps,
    )
    return found


def learning_rate_sweep(
    network: Network,
    parameters: Parameters,
    corpus: Corpus,
    options: TrainingOptions | None = None,
    *,
    lowest: float = 1e-4,
    highest: float = 10.0,
    steps: int = 1000,
    chunk: int = 20,
) -> Iterator[LearningRateSearch]:
    """The same sweep as it goes: what it has found after every `chunk` steps.

    The last one is what `find_learning_rate` returns. Raises OptionError as that does.
    """
    options = options or TrainingOptions()
    if not (0 < lowest < highest <= MOST_FLOAT32):
        raise OptionError(
            "rates must rise from above 0, from the lowest to the highest, which float32 must hold "
            f"(up to {MOST_FLOAT32}); found {lowest:g} to {highest:g}"
        )
    if not 10 <= steps <= 100_000:
        raise OptionError(f"a sweep takes 10 to 100,000 steps; found {steps}")
    rates = np.geomspace(lowest, highest, steps)
    state = first_state(network, parameters, corpus, options)
    count = len(corpus.train)
    probe = np.random.default_rng(options.seed).permutation(count)[:PROBE]
    contexts, targets = jnp.asarray(corpus.train.contexts), jnp.asarray(corpus.train.targets)
    carry: Any = (dict(parameters), state.optimiser)
    first, losses = None, np.zeros(0, np.float64)
    for begin in range(0, steps, chunk):
        some = jnp.asarray(rates[begin : begin + chunk], jnp.float32)
        before, carry, found = _sweep(
            network, options, carry, contexts, targets, jnp.asarray(probe), jnp.int32(begin), some
        )
        first = float(before) if first is None else first
        losses = np.concatenate([losses, np.asarray(found, np.float64)])
        yield judge_sweep(rates, losses, first)


@partial(jax.jit, static_argnums=(0, 1))
def _sweep(
    network: Network,
    options: TrainingOptions,
    begin: Any,
    contexts: Integer[Array, "examples block"],
    targets: Integer[Array, " examples"],
    probe: Integer[Array, " batch"],
    first_step: Integer[Array, ""],
    rates: Float[Array, " steps"],
) -> tuple[Float[Array, ""], Any, Float[Array, " steps"]]:
    rule = options.update_rule.transformation()
    probe_contexts = contexts[probe].astype(jnp.int32)
    probe_targets = targets[probe].astype(jnp.int32)

    def probe_loss(parameters: Any) -> Array:
        logits = network.logits_of(parameters, probe_contexts)
        chosen = jnp.take_along_axis(logits, probe_targets[:, None], 1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()

    def step(carry: Any, paired: tuple[Array, Array]) -> tuple[Any, Array]:
        parameters, memory = carry
        t, rate = paired
        examples = draw_examples(batch_key(options.seed), t, options.batch, targets.shape[0])
        _, gradient, _ = loss_and_gradient(
            network,
            parameters,
            contexts[examples].astype(jnp.int32),
            targets[examples].astype(jnp.int32),
        )
        updates: Any
        updates, memory = rule.update(gradient, memory, parameters)
        parameters = {name: parameters[name] - rate * updates[name] for name in parameters}
        return (parameters, memory), probe_loss(parameters)

    steps = first_step + jnp.arange(rates.shape[0])
    end, losses = jax.lax.scan(step, begin, (steps, rates))
    return probe_loss(begin[0]), end, losses


def judge_sweep(
    rates: Float[np.ndarray, " steps"], losses: Float[np.ndarray, "..."], first: float
) -> LearningRateSearch:
    """What a sweep says: the best rate by the running mean, and a safe one below it.

    `losses` are one a step, and may be of the first rates only, while the sweep goes on.
    """
    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(np.argmin(finite))
    if end == 0:
        raise OptionError(
            f"the very first step, at a rate of {rates[0]:g}, made the loss infinite; begin the "
            "sweep at a lower rate, with less weight decay, or start the network smaller"
        )
    smoothed = _running_mean(losses[:end], max(1, len(rates) // 50))
    best = int(np.argmin(smoothed))
    # What lies beyond a loss far above the start's is ruin, and would flatten the picture.
    ruined = np.flatnonzero(smoothed[best:] > 2 * max(first, smoothed[best]))
    end = best + int(ruined[0]) + 1 if ruined.size else end
    return LearningRateSearch(
        rates[:end],
        losses[:end],
        smoothed[:end],
        first,
        float(rates[best]),
        _round_to_two_digits(float(rates[best]) * SAFETY),
        best == len(rates) - 1,
    )


def _running_mean(losses: Float[np.ndarray, " steps"], width: int) -> Float[np.ndarray, " steps"]:
    """The mean over up to `width` places on either side, so that no loss moves to another rate."""
    total = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    low, high = np.maximum(places - width, 0), np.minimum(places + width + 1, len(losses))
    return (total[high] - total[low]) / (high - low)


def _round_to_two_digits(rate: float) -> float:
    return float(f"{rate:.1e}")
