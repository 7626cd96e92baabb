"""The training loop: it yields records, and whoever consumes them shows or stores them."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Integer

from fanin.corpus import Corpus, Examples
from fanin.errors import ShapeError
from fanin.networks import Network, Parameters, initial_statistics
from fanin.training.divergence import Diverged, first_not_finite
from fanin.training.evaluation import BLOCK, Blocks, mean_loss
from fanin.training.options import TrainingOptions
from fanin.training.record import Progress, TrainingState
from fanin.training.step import draw_examples, steps_at_once, train_steps

# At most five records a second: what an eye can follow, and next to nothing in time.
SECONDS_BETWEEN_RECORDS = 0.2

# The stream of random numbers that mini-batches come from, apart from that of the start.
BATCH_STREAM = 1


def train(
    network: Network,
    parameters: Parameters,
    corpus: Corpus,
    options: TrainingOptions | None = None,
    *,
    state: TrainingState | None = None,
    record_every: int | None = None,
) -> Iterator[Progress]:
    """Train on mini-batches; yields a record now and then, the last at the end.

    The first record is that of step 0, with the dev loss of the start. With `state` (that of an
    earlier record) the run goes on from there, bit for bit as if it had not been stopped. Besides
    the records that time and evaluations bring there is one at every multiple of `record_every`
    steps. Closing the iterator stops the run. Raises Diverged when a loss or the state is no longer
    finite, and ShapeError where network and corpus do not belong together.
    """
    options = options or TrainingOptions()
    _check_fit(network, corpus)
    began = time.perf_counter()
    contexts, targets = jnp.asarray(corpus.train.contexts), jnp.asarray(corpus.train.targets)
    dev = Blocks.of(corpus.dev)
    if state is None:
        state = first_state(network, parameters, corpus, options)
    key = batch_key(options.seed)
    rate, steps = jnp.float32(options.rate), jnp.int32(options.steps)

    def call(state: Mapping[str, Any], count: int) -> tuple[dict[str, Any], Array, Array]:
        return train_steps(
            network,
            options.batch,
            options.schedule,
            options.update_rule,
            state,
            contexts,
            targets,
            key,
            rate,
            steps,
            jnp.int32(options.warm_up),
            jnp.int32(count),
        )

    def record(now: dict[str, Any], losses: list[np.ndarray], evaluate: bool) -> Progress:
        state = _state(now)
        loss = mean_loss(network, state.parameters, dev, state.statistics) if evaluate else None
        if loss is not None and len(corpus.dev) and not np.isfinite(loss):
            raise _dev_divergence(network, corpus, options, state)
        batch_losses = np.concatenate([*losses, np.zeros(0, np.float32)])
        return Progress(state.step, batch_losses, loss, time.perf_counter() - began, state)

    step = state.step
    now: dict[str, Any] = {
        "step": jnp.int32(step),
        "parameters": dict(state.parameters),
        "statistics": dict(state.statistics),
        "optimiser": state.optimiser,
    }
    yield record(now, [], step % options.evaluate_every == 0 or step == options.steps)
    losses: list[np.ndarray] = []
    reported = time.perf_counter()
    count = 1  # the first call compiles; from the second on its length is fitted to the clock
    while step < options.steps:
        stops = [every for every in (options.evaluate_every, record_every) if every]
        until_stop = min(every - step % every for every in stops)
        count = min(count, until_stop, options.steps - step, steps_at_once(options.batch))
        called = time.perf_counter()
        after, chunk, finite = call(now, count)
        chunk = np.asarray(chunk)[:count]
        if not (finite and np.isfinite(chunk).all()):
            raise _divergence(network, corpus, options, call, now, count)
        seconds = time.perf_counter() - called
        losses.append(chunk)
        now, step = after, step + count
        evaluate = step % options.evaluate_every == 0 or step == options.steps
        due = record_every is not None and step % record_every == 0
        if evaluate or due or time.perf_counter() - reported >= SECONDS_BETWEEN_RECORDS:
            yield record(now, losses, evaluate)
            losses, reported = [], time.perf_counter()
        count = max(1, int(count * min(8.0, SECONDS_BETWEEN_RECORDS / max(seconds, 1e-6))))


def first_state(
    network: Network, parameters: Parameters, corpus: Corpus, options: TrainingOptions
) -> TrainingState:
    """The state at step 0: the start, and statistics from some training examples."""
    return TrainingState(
        0,
        dict(parameters),
        initial_statistics(network, parameters, first_contexts(corpus)),
        options.update_rule.transformation().init(dict(parameters)),
    )


def first_contexts(corpus: Corpus) -> Integer[np.ndarray, "examples block"]:
    """Some training contexts, for what has to look at data before the first step."""
    return corpus.train.contexts[:4096].astype(np.int32)


def _check_fit(network: Network, corpus: Corpus) -> None:
    # In a compiled program JAX moves an index that is out of range into it and says nothing.
    if network.vocabulary != len(corpus.vocabulary):
        raise ShapeError(
            f"the network is for a vocabulary of {network.vocabulary} and the corpus has one of "
            f"{len(corpus.vocabulary)}; make the network with vocabulary={len(corpus.vocabulary)}"
        )
    if network.block != corpus.block:
        raise ShapeError(
            f"the network reads a block of {network.block} and the corpus has blocks of "
            f"{corpus.block}; make one of them with the other's block"
        )


def _state(now: dict[str, Any]) -> TrainingState:
    return TrainingState(int(now["step"]), now["parameters"], now["statistics"], now["optimiser"])


def batch_key(seed: int) -> Array:
    """The key from which the mini-batches of a run with this seed are drawn."""
    return jax.random.fold_in(jax.random.key(seed), BATCH_STREAM)


def _dev_divergence(
    network: Network, corpus: Corpus, options: TrainingOptions, state: TrainingState
) -> Diverged:
    """For batch losses that are finite, and a dev loss that is not."""
    blocks = [slice(first, first + BLOCK) for first in range(0, len(corpus.dev), BLOCK)]
    contexts, targets = corpus.dev.contexts[blocks[-1]], corpus.dev.targets[blocks[-1]]
    for block in blocks:
        examples = Examples(corpus.dev.contexts[block], corpus.dev.targets[block])
        if not np.isfinite(mean_loss(network, state.parameters, examples, state.statistics)):
            contexts, targets = examples.contexts, examples.targets
            break
    place = first_not_finite(
        network,
        state.parameters,
        contexts.astype(np.int32),
        targets.astype(np.int32),
        state.statistics or None,
    )
    return Diverged(state.step, f"{place} (seen in the dev loss)", options.rate, state)


def _divergence(
    network: Network,
    corpus: Corpus,
    options: TrainingOptions,
    call: Any,
    first: dict[str, Any],
    count: int,
) -> Diverged:
    """Replay a chunk of so many steps from its first state up to the step that went wrong."""

    def went_wrong(done: int) -> bool:
        _, losses, finite = call(first, done)
        return not (finite and np.isfinite(losses[:done]).all())

    # What is not finite stays so. A loss may come long after it: a rare symbol's row, say.
    sound = bisect_left(range(1, count), True, key=went_wrong)
    before, _, _ = call(first, sound)
    step = int(before["step"])
    examples = np.asarray(
        draw_examples(batch_key(options.seed), step, options.batch, len(corpus.train))
    )
    place = first_not_finite(
        network,
        before["parameters"],
        corpus.train.contexts[examples].astype(np.int32),
        corpus.train.targets[examples].astype(np.int32),
    )
    return Diverged(step, place, options.rate, _state(before))
