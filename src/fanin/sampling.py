"""Words that a trained model makes up."""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int32, PRNGKeyArray

from fanin.corpus import BOUNDARY, split_words
from fanin.errors import FaninError, OptionError
from fanin.model_file import Model
from fanin.networks import Network

MOST_WORDS = 10_000_000
# Words are always made so many at a time, so that one word's bits do not depend on how many are
# asked for: a matrix product of another size may add up in another order.
TILE = 1024
# Most words are short: when so many of a tile have not ended, they go on in a smaller one.
FEWER = (256, 64)
_SHORTEST_LIMIT = 100  # symbols, for lists whose own words are short

Known = Literal["train", "held out", "new"]


class NoWordsToDraw(FaninError):
    """A model whose logits are not finite: there is nothing to draw from."""


@final
@dataclass(frozen=True)
class Sample:
    """One word, whether the model could know it, and whether it came to its end.

    `known`: "train" for a word that it was trained on, "held out" for one of the dev or test
    words, "new" for one of its own. A word that is not `complete` was cut at the limit.
    """

    word: str
    known: Known
    complete: bool


def sample(
    model: Model, count: int, *, temperature: float = 1.0, prefix: str = "", seed: int = 0
) -> list[Sample]:
    """`count` words, drawn symbol by symbol; word i depends on the seed and i, not on `count`.

    The logits are divided by `temperature`: below 1 the likelier symbols gain, 0 always takes the
    likeliest. Each word begins with `prefix`, none ends before its first symbol, and white space
    around it is taken off, as from the words of a list. Words are cut at twice the length of the
    longest in the model's list, or 100 symbols. Raises OptionError for what cannot be.
    """
    if not 1 <= count <= MOST_WORDS:
        raise OptionError(f"count, the number of words, is from 1 to {MOST_WORDS:,}; found {count}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise OptionError(f"temperature is 0 or a positive number; found {temperature}")
    if not 0 <= seed < 2**32:
        raise OptionError(f"seed is from 0 to {2**32 - 1}; found {seed}")
    prefix = unicodedata.normalize("NFC", prefix)
    known = _known(model)
    samples: list[Sample] = []
    for ids in _tiles(model, count, temperature, prefix, seed):
        texts, ended = model.vocabulary.decode_rows(ids), (ids == BOUNDARY).any(axis=1).tolist()
        for text, complete in islice(zip(texts, ended, strict=True), count - len(samples)):
            # As the list of words was made, so that a word is found there by its letters.
            word = unicodedata.normalize("NFC", prefix + text).strip()
            samples.append(Sample(word, known.get(word, "new"), complete))
    return samples


def new_words(model: Model, count: int, *, seed: int = 0) -> list[str]:
    """Different complete words that are not in the model's list: `count`, or what it can do."""
    found: dict[str, None] = {}
    # A model that has learnt its list by heart makes few others.
    for tries in (max(TILE, 2 * count), 16 * max(TILE, 2 * count)):
        for made in sample(model, tries, seed=seed):
            if made.known == "new" and made.complete and made.word:
                found[made.word] = None
            if len(found) == count:
                return list(found)
    return list(found)


def _known(model: Model) -> dict[str, Known]:
    splits = split_words(model.words.words, model.split_seed, source=model.words.source)
    known: dict[str, Known] = dict.fromkeys(splits.train, "train")
    known.update(dict.fromkeys(splits.dev + splits.test, "held out"))
    return known


def _tiles(
    model: Model, count: int, temperature: float, prefix: str, seed: int
) -> Iterator[Int32[np.ndarray, "examples steps"]]:
    """Ids of the symbols after the prefix, a row a word, tile by tile; boundaries fill up."""
    network = model.network
    if missing := sorted(set(prefix).difference(model.vocabulary.symbols)):
        raise OptionError(_unknown(prefix, missing, model.vocabulary.symbols))
    longest = max(map(len, model.words.words))
    limit = max(_SHORTEST_LIMIT, 2 * longest)
    context = np.full(network.block, BOUNDARY, np.int32)
    if start := model.vocabulary.encode(prefix)[-network.block :].tolist():
        context[-len(start) :] = start
    # In float32 a temperature below the smallest normal number would be a division by zero.
    greedy = temperature < float(np.finfo(np.float32).tiny)
    for first in range(0, count, TILE):
        ids, steps, finite = _make_words(
            network,
            limit,
            greedy,
            dict(model.parameters),
            dict(model.statistics),
            jax.random.key(seed),
            jnp.int32(first),
            jnp.float32(1.0 if greedy else min(temperature, float(np.finfo(np.float32).max))),
            jnp.asarray(context),
            jnp.bool_(prefix == ""),
        )
        if not finite:
            raise NoWordsToDraw(
                "the model's logits are not finite, so that no word can be drawn; its training "
                "went wrong: train it again, with a lower learning rate"
            )
        yield np.asarray(ids)[:, : int(steps)]


class _State(NamedTuple):
    """Words as far as they have come."""

    step: Int32[Array, ""]
    contexts: Int32[Array, "examples block"]
    ids: Int32[Array, "examples steps"]
    ended: Bool[Array, " examples"]
    finite: Bool[Array, ""]


# With less optimisation it compiles in three quarters of the time, and draws no slower.
@partial(
    jax.jit,
    static_argnums=(0, 1, 2),
    compiler_options={"xla_backend_optimization_level": 1},
)
def _make_words(
    network: Network,
    limit: int,
    greedy: bool,
    parameters: dict[str, Any],
    statistics: dict[str, Any],
    key: PRNGKeyArray,
    first: Int32[Array, ""],
    temperature: Float[Array, ""],
    context: Int32[Array, "block"],
    fresh: Bool[Array, ""],
) -> tuple[Int32[Array, "examples steps"], Int32[Array, ""], Bool[Array, ""]]:
    """A tile of words, the length of the longest, and whether all logits were finite."""
    # Of each word a number even from 0 to 1 for each symbol: where it falls among the summed-up
    # probabilities. (A Gumbel number for each symbol of the vocabulary takes three times as long.)
    even = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (limit,)))(
        first + jnp.arange(TILE)
    )

    def go_on(state: _State, even: Float[Array, "examples steps"], left: int) -> _State:
        """Add symbols until at most so many words have not ended."""

        def going_on(state: _State) -> Bool[Array, ""]:
            return (state.step < limit) & state.finite & ((~state.ended).sum() > left)

        def add_symbol(state: _State) -> _State:
            step, contexts, ids, ended, _ = state
            logits = network.logits_of(parameters, contexts, statistics)
            finite = jnp.isfinite(logits).all()
            # No word is empty; and the greatest logit is made 0, so that dividing overflows none.
            logits = logits.at[:, BOUNDARY].add(jnp.where(fresh & (step == 0), -jnp.inf, 0.0))
            logits = (logits - logits.max(axis=1, keepdims=True)) / temperature
            if greedy:
                drawn = logits.argmax(axis=1)
            else:
                before = jnp.triu(jnp.ones((logits.shape[1], logits.shape[1])))
                sums = jnp.matmul(jnp.exp(logits), before, precision="highest")
                drawn = (sums <= even[:, step, None] * sums[:, -1:]).sum(axis=1)
                drawn = jnp.minimum(drawn, logits.shape[1] - 1)
            drawn = jnp.where(ended, BOUNDARY, drawn).astype(jnp.int32)
            contexts = jnp.concatenate([contexts[:, 1:], drawn[:, None]], axis=1)
            ids = ids.at[:, step].set(drawn)
            return _State(step + 1, contexts, ids, ended | (drawn == BOUNDARY), finite)

        return jax.lax.while_loop(going_on, add_symbol, state)

    contexts = jnp.broadcast_to(context, (TILE, context.size))
    ids = jnp.full((TILE, limit), BOUNDARY, jnp.int32)
    rows = jnp.arange(TILE)
    state = _State(jnp.int32(0), contexts, ids, jnp.zeros(TILE, bool), jnp.bool_(True))
    for left in (*FEWER, 0):
        state = go_on(state, even[rows], left)
        ids = ids.at[rows].set(state.ids)
        going = jnp.argsort(state.ended, stable=True)[:left]
        rows, state = (
            rows[going],
            state._replace(
                contexts=state.contexts[going], ids=state.ids[going], ended=state.ended[going]
            ),
        )
    return ids, state.step, state.finite


def _unknown(prefix: str, missing: list[str], symbols: tuple[str, ...]) -> str:
    names = ", ".join(map(repr, missing[:5])) + (" and more" if len(missing) > 5 else "")
    folded = prefix.lower()
    hint = f"; try {folded!r}" if set(folded) <= set(symbols) else ""
    shown = "".join(symbols[:60]) + ("…" if len(symbols) > 60 else "")
    return (
        f"the prefix {prefix!r} holds {names}, which the model has never seen; "
        f"it knows {shown}{hint}"
    )
