import math
import time
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import IndexRangeError
from fanin.corpus import Corpus, Examples, Words, bundled_names
from fanin.errors import OptionError, ShapeError
from fanin.networks import Bigram, CharacterMLP, initial_statistics
from fanin.starts import find_start
from fanin.training import (
    Blocks,
    TrainingOptions,
    evaluation,
    loss_and_gradient,
    mean_loss,
    train,
)
from fanin.training.loop import batch_key
from fanin.training.step import draw_examples, learning_rate, steps_at_once

NETWORK = CharacterMLP(27, embedding=4, hidden=(12,))
BATCH_NORMALISED = CharacterMLP(27, embedding=4, hidden=(12,), normalisation="batch")
SETTINGS = {"steps": 24, "batch": 8, "lr": 0.1, "seed": 5}

RULES = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "adamw": {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1},
}


@pytest.fixture(scope="module")
def corpus():
    return Corpus.of(Words.of(bundled_names().words[::40]))


@pytest.fixture(scope="module")
def start():
    return find_start("fanin")(NETWORK, jax.random.key(0))


@pytest.fixture(scope="module")
def whole(corpus, start):
    """Runs of 24 steps in the fewest calls, by their optimiser; each is compared with others."""
    known = {}

    def run(rule):
        if rule not in known:
            options = TrainingOptions(**{**SETTINGS, **RULES[rule], "eval_every": 24})
            known[rule] = list(train(NETWORK, start, corpus, options))
        return known[rule]

    return run


def losses_of(records):
    return np.concatenate([record.batch_losses for record in records])


def same_bits(a, b):
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) > 0 and all(map(np.array_equal, left, right))


def states_agree(a, b):
    return a.step == b.step and same_bits(
        (a.parameters, a.statistics, a.optimiser), (b.parameters, b.statistics, b.optimiser)
    )


def plain_loss(parameters, contexts, targets):
    rows = parameters["embedding.weight"][contexts].reshape(len(contexts), -1)
    units = jnp.tanh(rows @ parameters["hidden.0.weight"] + parameters["hidden.0.bias"])
    logits = units @ parameters["output.weight"] + parameters["output.bias"]
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets])


by_jax = jax.jit(jax.value_and_grad(plain_loss))


def plain_update(rule, t, weight, gradient, memory):
    """One parameter's update per unit of learning rate, from the papers; `memory` is changed."""
    if rule in ("sgd", "momentum"):
        decay, momentum = (0.01, 0.9) if rule == "momentum" else (0, 0)
        memory["m"] = momentum * memory.get("m", 0) + gradient + decay * weight
        return memory["m"]
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    mean, variance = memory["m"] / (1 - 0.9 ** (t + 1)), memory["v"] / (1 - 0.999 ** (t + 1))
    return mean / (np.sqrt(variance) + 1e-8) + (0.1 * weight if rule == "adamw" else 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_is_a_plain_loop(rule, corpus, start, whole):
    rate = RULES[rule].get("lr", 0.1)
    key = jax.random.fold_in(jax.random.key(5), 1)
    parameters = {name: np.asarray(array, np.float64) for name, array in start.items()}
    memory = {name: {} for name in start}
    losses = []
    for t in range(24):
        examples = jax.random.randint(jax.random.fold_in(key, t), (8,), 0, len(corpus.train))
        examples = np.asarray(examples)
        loss, gradients = by_jax(
            {name: jnp.asarray(array, jnp.float32) for name, array in parameters.items()},
            corpus.train.contexts[examples].astype(np.int32),
            corpus.train.targets[examples].astype(np.int32),
        )
        losses.append(float(loss))
        for name, gradient in gradients.items():
            update = plain_update(
                rule, t, parameters[name], np.asarray(gradient, np.float64), memory[name]
            )
            parameters[name] = parameters[name] - (rate if t < 12 else rate / 10) * update
    records = whole(rule)
    np.testing.assert_allclose(losses_of(records), losses, rtol=2e-5)
    for name, array in parameters.items():
        np.testing.assert_allclose(records[-1].state.parameters[name], array, atol=2e-4)
    # Far from where it began, by that measure.
    moved = records[-1].state.parameters["output.weight"] - start["output.weight"]
    assert np.abs(moved).max() > 0.02


def test_the_same_seed_gives_the_same_bits_and_another_one_others(corpus, start, whole):
    again = list(train(NETWORK, start, corpus, TrainingOptions(**SETTINGS, eval_every=24)))
    assert states_agree(again[-1].state, whole("sgd")[-1].state)
    assert np.array_equal(losses_of(again), losses_of(whole("sgd")))
    other = TrainingOptions(**{**SETTINGS, "seed": 6}, eval_every=24)
    *_, last = train(NETWORK, start, corpus, other)
    assert not same_bits(last.state.parameters, whole("sgd")[-1].state.parameters)


@pytest.mark.parametrize("rule", RULES)
def test_neither_evaluating_nor_stopping_changes_a_bit(rule, corpus, start, whole):
    settings = {**SETTINGS, **RULES[rule]}
    often = list(train(NETWORK, start, corpus, TrainingOptions(**settings, eval_every=1)))
    assert [record.step for record in often] == list(range(25))
    assert np.array_equal(losses_of(often), losses_of(whole(rule)))
    assert states_agree(often[-1].state, whole(rule)[-1].state)
    # On from the middle, once the optimiser has something to remember, and in other pieces.
    options = TrainingOptions(**settings, eval_every=5)
    rest = list(train(NETWORK, start, corpus, options, state=often[7].state))
    assert [record.step for record in rest if record.dev_loss is not None] == [10, 15, 20, 24]
    assert np.array_equal(losses_of(rest), losses_of(whole(rule))[7:])
    assert states_agree(rest[-1].state, whole(rule)[-1].state)
    assert rest[-1].dev_loss == whole(rule)[-1].dev_loss


def test_calls_of_a_thousand_steps_change_no_bit(corpus):
    network = Bigram(27, block=3)
    start = find_start("fanin")(network, jax.random.key(0))
    options = {"batch": 4, "seed": 1, "steps": 1100, "schedule": "cosine", "warm_up": 1000}
    runs = [
        list(train(network, start, corpus, TrainingOptions(**options, eval_every=every)))
        for every in (1100, 550, 137)
    ]
    assert losses_of(runs[0]).shape == (1100,)
    for run in runs[1:]:
        assert np.array_equal(losses_of(run), losses_of(runs[0]))
        assert states_agree(run[-1].state, runs[0][-1].state)


def test_batch_normalisation_goes_through_training_and_stopping(corpus):
    start = find_start("fanin")(BATCH_NORMALISED, jax.random.key(0))
    options = TrainingOptions(**SETTINGS, eval_every=1)
    records = list(train(BATCH_NORMALISED, start, corpus, options))
    first = records[0].state
    # They begin as the moments of the first 4,096 training examples ...
    contexts = corpus.train.contexts.astype(np.int32)
    assert len(contexts) > 4096
    expected = initial_statistics(BATCH_NORMALISED, start, contexts[:4096])
    assert same_bits(first.statistics, expected)
    # ... and move a hundredth of the way to those of each batch.
    examples = np.asarray(draw_examples(batch_key(5), 0, 8, len(contexts)))
    rows = np.asarray(start["embedding.weight"])[contexts[examples]].reshape(8, -1)
    read = rows @ np.asarray(start["hidden.0.weight"])
    for moment, of_batch in (("mean", read.mean(0)), ("variance", read.var(0))):
        name = f"hidden.0.normalisation.{moment}"
        expected = 0.99 * np.asarray(first.statistics[name]) + 0.01 * of_batch
        np.testing.assert_allclose(records[1].state.statistics[name], expected, rtol=1e-5)
    on = train(BATCH_NORMALISED, start, corpus, options, state=records[9].state)
    *_, last = on
    assert states_agree(last.state, records[-1].state)
    # The dev loss is that of the running moments: one example at a time gives the same.
    assert last.dev_loss == records[-1].dev_loss
    few = Examples(corpus.dev.contexts[:5], corpus.dev.targets[:5])
    alone = [
        mean_loss(
            BATCH_NORMALISED,
            last.state.parameters,
            Examples(few.contexts[[index]], few.targets[[index]]),
            last.state.statistics,
        )
        for index in range(5)
    ]
    together = mean_loss(BATCH_NORMALISED, last.state.parameters, few, last.state.statistics)
    assert np.mean(alone) == pytest.approx(together, rel=1e-6)


def test_loss_and_gradient_of_a_batch_are_those_of_jax(corpus, start):
    contexts = corpus.train.contexts[:8].astype(np.int32)
    targets = corpus.train.targets[:8].astype(np.int32)
    loss, gradient, moments = loss_and_gradient(NETWORK, start, contexts, targets)
    expected, gradients = by_jax(start, contexts, targets)
    assert moments == {}
    assert loss == pytest.approx(float(expected), rel=1e-6)
    assert set(gradient) == set(start)
    for name, array in gradients.items():
        np.testing.assert_allclose(gradient[name], array, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("schedule", "warm_up", "shares"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ("step", 0, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
        ("constant", 4, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("cosine", 0, [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]),
        ("cosine", 4, [0.25, 0.5, 0.75, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
        ("step", 8, [0.125, 0.25, 0.375, 0.5, 0.0625, 0.075, 0.0875, 0.1]),
    ],
)
def test_learning_rates_of_eight_steps(schedule, warm_up, shares):
    rate = jax.vmap(lambda t: learning_rate(schedule, jnp.float32(0.3), 8, warm_up, t))
    rates = jax.jit(rate)(jnp.arange(8))
    np.testing.assert_allclose(rates, 0.3 * np.asarray(shares), rtol=1e-5)


def test_the_published_schedule_changes_at_half_way_and_not_a_step_later():
    steps = jnp.array([0, 99_999, 100_000, 199_999])
    rates = jax.vmap(lambda t: learning_rate("step", 0.1, 200_000, 0, t))(steps)
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01], rtol=1e-6)
    rates = jax.vmap(lambda t: learning_rate("step", 0.1, 5, 0, t))(jnp.arange(5))
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_mini_batches_are_drawn_with_replacement_from_all_of_the_training_set():
    draw = jax.jit(jax.vmap(lambda t: draw_examples(batch_key(0), t, 32, 50)))
    drawn = np.asarray(draw(jnp.arange(2000)))
    assert drawn.shape == (2000, 32)
    # Each draw falls on each example alike: 64,000 draws, 1/50.
    counts = np.bincount(drawn.ravel(), minlength=50)
    assert counts.shape == (50,)
    assert np.abs(counts - 1280).max() < 4.5 * math.sqrt(1280 * 0.98)
    # 32 of 50 without any twice: that has the probability 3e-7.
    assert all(len(set(batch)) < 32 for batch in drawn.tolist())
    # Steps are independent of each other: the same example in the same place, in 1/50.
    assert (drawn[1:] == drawn[:-1]).mean() == pytest.approx(1 / 50, abs=0.0025)
    assert not np.array_equal(drawn[0], draw_examples(batch_key(1), 0, 32, 50))


def test_records_say_what_was_done_and_nothing_twice(corpus, start):
    options = TrainingOptions(steps=50, batch=8, eval_every=20)
    records = list(train(NETWORK, start, corpus, options, record_every=15))
    assert records[0].batch_losses.shape == (0,)
    assert same_bits(records[0].state.parameters, dict(start))
    for before, after in pairwise(records):
        assert len(after.batch_losses) == after.step - before.step > 0
        assert after.seconds >= before.seconds
        assert after.state.step == after.step
    assert {0, 15, 20, 30, 40, 45, 50} <= {record.step for record in records}
    evaluated = {record.step: record.dev_loss for record in records if record.dev_loss is not None}
    assert list(evaluated) == [0, 20, 40, 50]
    last = records[-1]
    assert last.dev_loss == mean_loss(NETWORK, last.state.parameters, corpus.dev)
    # A record is not changed by what comes after it.
    assert evaluated[20] == mean_loss(
        NETWORK, next(r for r in records if r.step == 20).state.parameters, corpus.dev
    )


def test_records_come_a_few_times_a_second(corpus, start):
    options = TrainingOptions(steps=10**9, batch=8, eval_every=10**9)
    run = train(NETWORK, start, corpus, options)
    next(run)
    began = time.perf_counter()
    records = [next(run) for _ in range(4)]
    seconds = time.perf_counter() - began
    run.close()
    assert seconds > 4 * 0.19
    assert all(record.dev_loss is None for record in records)
    # The calls have grown, or it would take a record for each.
    assert len(records[-1].batch_losses) > 50


def test_no_steps_are_a_run_too(corpus, start):
    (record,) = train(NETWORK, start, corpus, TrainingOptions(steps=0))
    assert record.step == 0
    assert record.dev_loss == mean_loss(NETWORK, start, corpus.dev)


def test_a_run_that_is_done_goes_on_no_further(corpus, start, whole):
    options = TrainingOptions(**SETTINGS, eval_every=24)
    (record,) = train(NETWORK, start, corpus, options, state=whole("sgd")[-1].state)
    assert record.step == 24
    assert states_agree(record.state, whole("sgd")[-1].state)


def direct_loss(parameters, examples):
    """In float64, all at once, by NumPy."""
    weights = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    rows = weights["embedding.weight"][examples.contexts].reshape(len(examples), -1)
    units = np.tanh(rows @ weights["hidden.0.weight"] + weights["hidden.0.bias"])
    logits = units @ weights["output.weight"] + weights["output.bias"]
    chosen = logits[np.arange(len(examples)), examples.targets]
    return (np.log(np.exp(logits).sum(1)) - chosen).mean()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_the_mean_loss_over_whole_blocks_and_a_padded_one(count, corpus, start, monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK", 64)
    examples = Examples(corpus.train.contexts[:count], corpus.train.targets[:count])
    blocks = Blocks.of(examples)
    assert blocks.targets.shape == {1: (1, 1), 63: (1, 63), 64: (1, 64), 65: (2, 64)}.get(
        count, (4, 64)
    )
    expected = direct_loss(start, examples)
    assert mean_loss(NETWORK, start, examples) == pytest.approx(expected, rel=1e-6)
    assert mean_loss(NETWORK, start, blocks) == mean_loss(NETWORK, start, examples)


def test_the_mean_loss_over_nothing_is_nan(corpus, start):
    nothing = Examples(corpus.dev.contexts[:0], corpus.dev.targets[:0])
    assert math.isnan(mean_loss(NETWORK, start, nothing))


def test_examples_that_do_not_fit_the_network_are_refused(corpus, start):
    small = CharacterMLP(20, embedding=4, hidden=(12,))
    with pytest.raises(IndexRangeError, match="the index 26 is outside 0 to 19"):
        mean_loss(small, start, corpus.dev)
    with pytest.raises(ShapeError, match="contexts of 3 symbols; the network reads 4"):
        mean_loss(CharacterMLP(27, block=4, embedding=4, hidden=(12,)), start, corpus.dev)
    # A compiled step would clamp the indices, and find a fine loss.
    with pytest.raises(ShapeError, match="a vocabulary of 20 and the corpus has one of 27"):
        next(train(small, start, corpus))
    with pytest.raises(ShapeError, match="reads a block of 1 and the corpus has blocks of 3"):
        next(train(Bigram(27), start, corpus))


def test_statistics_are_needed_where_batches_are_normalised(corpus):
    start = find_start("fanin")(BATCH_NORMALISED, jax.random.key(0))
    with pytest.raises(OptionError, match="has no running statistics"):
        mean_loss(BATCH_NORMALISED, start, corpus.dev)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps must be from 0 to 1,000,000,000, a whole number; found -1"),
        ({"batch": 0}, "batch must be from 1"),
        ({"eval_every": 0}, "eval_every must be from 1"),
        ({"seed": 2**32}, "seed must be from 0 to 4,294,967,295"),
        ({"warm_up": -1}, "warm_up must be from 0"),
        ({"lr": 0.0}, r"lr must be a positive number; found 0\.0"),
        ({"lr": math.inf}, "lr must be a positive number; found inf"),
        ({"lr": math.nan}, "lr must be a positive number; found nan"),
        ({"lr": 1e-300}, r"lr must be from 1\.2e-38 to 3\.4e\+38"),
        ({"lr": 1e300}, r"which are what float32 holds; found 1e\+300"),
        ({"warm_up": 11, "steps": 10}, "warm_up must end within the 10 steps; found 11"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"momentum": 0.9, "optimiser": "adam"}, "momentum goes with sgd; adam has its own"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"weight_decay": 0.1, "optimiser": "adam"}, "choose adamw instead of adam"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(OptionError, match=message):
        TrainingOptions(**settings)


def test_defaults_are_the_published_ones():
    options = TrainingOptions()
    assert (options.steps, options.batch, options.rate) == (200_000, 32, 0.1)
    assert (options.schedule, options.evaluate_every) == ("step", 5000)
    assert TrainingOptions(optimiser="adamw").rate == 0.001
    assert TrainingOptions(optimiser="adamw").update_rule.weight_decay == 0.01
    assert TrainingOptions(steps=0).evaluate_every == TrainingOptions(steps=7).evaluate_every == 1


def test_large_batches_are_drawn_for_fewer_steps_at_once():
    assert steps_at_once(32) == 1024
    assert steps_at_once(2**11) == 64
    assert steps_at_once(10**7) == 1
