"""What starts do to a network at step 0, against figures that were computed elsewhere.

Each start's own numbers are in `test_catalogue.py`.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import evaluate
from fanin.corpus import Corpus, Vocabulary, Words, build_examples, bundled_names
from fanin.errors import OptionError
from fanin.networks import CharacterMLP, as_values
from fanin.starts import SCHEMES, Rule, find_start
from fanin.starts.schemes import ZERO
from fanin.training import TrainingOptions, mean_loss, train

NETWORK = CharacterMLP(27)
SEEDS = 16
TABLE_SEEDS = 60

NEAR_UNIFORM = replace(SCHEMES["normal"], bias=ZERO, output=Rule("normal", 0.01), output_bias=ZERO)


def first_layer_times(factor):
    return replace(NEAR_UNIFORM, hidden=Rule("normal", factor))


# One hidden tanh layer at step 0, computed with 60 seeds on 22,764 contexts of such names: standard
# deviation of pre-activations and of tanh, share of outputs beyond ±0.97, loss and its standard
# deviation over seeds.
TABLE = {
    "normal": (SCHEMES["normal"], 5.51, 0.923, 0.696, 26.2, 1.7),
    "×1, output ×0.01": (first_layer_times(1.0), 5.42, 0.922, 0.689, 3.304, 0.011),
    "×(5/3)/√30": (first_layer_times(5 / 3 / 30**0.5), 1.65, 0.750, 0.199, 3.301, 0.009),
    "×0.2": (first_layer_times(0.2), 1.08, 0.644, 0.056, 3.300, 0.008),
    "×1/√30": (first_layer_times(30**-0.5), 0.99, 0.618, 0.038, 3.299, 0.008),
    "×0.1": (first_layer_times(0.1), 0.54, 0.437, 0.001, 3.297, 0.006),
}


@pytest.fixture(scope="module")
def names():
    """Every fifteenth of the bundled names, some 2,000 words."""
    return Words.of(bundled_names().words[::15])


@pytest.fixture(scope="module")
def measure(names):
    """From parameters to what the table has, and to the loss with its logits."""
    vocabulary = Vocabulary.of(names.words)
    assert len(vocabulary) == 27
    examples = build_examples(names.words, vocabulary, 3)
    contexts, targets = examples.contexts.astype(np.int32), examples.targets.astype(np.int32)

    @jax.jit
    def measured(parameters):
        logits, run = NETWORK.run(as_values(parameters), contexts)
        loss = logits.softmax_cross_entropy(targets)
        data = evaluate(loss, gradients=False).data
        before, after = (data[run.outputs[n]] for n in ("hidden.0", "hidden.0.activation"))
        beyond = jnp.stack([(after > 0.97).mean(), (after < -0.97).mean()])
        return before.std(), after.std(), beyond, data[loss], data[logits]

    return measured


@pytest.mark.parametrize("row", TABLE)
def test_step_zero_is_as_the_table_says(row, measure):
    scheme, *table, loss_deviation = TABLE[row]
    found = []
    for seed in range(SEEDS):
        before, after, beyond, loss, _ = measure(scheme(NETWORK, jax.random.key(seed)))
        found.append([before, after, beyond.sum(), loss])
    found = np.asarray(found, np.float64)
    deviations = found.std(0, ddof=1)
    # The table says how far seeds differ in the loss; that of the rest is ours, and must be small.
    assert deviations[3] == pytest.approx(loss_deviation, rel=0.6)
    assert (deviations[:3] < (0.08 * table[0], 0.05, 0.05)).all()
    error = deviations * math.sqrt(1 / SEEDS + 1 / TABLE_SEEDS)
    rounding = [0.005, 0.0005, 0.0005, 0.05 if row == "normal" else 0.0005]
    assert (np.abs(found.mean(0) - table) < 4 * error + rounding).all(), found.mean(0)


def test_both_sides_of_tanh_saturate(measure):
    _, _, beyond, _, _ = measure(SCHEMES["normal"](NETWORK, jax.random.key(0)))
    # Looking at one side only would find half of the table's 69.6 %.
    assert beyond == pytest.approx([0.348, 0.348], abs=0.04)


def test_the_fan_in_of_the_first_layer_is_its_whole_row():
    weight = SCHEMES["published"](NETWORK, jax.random.key(0))["hidden.0.weight"]
    assert weight.shape == (30, 200)
    # (5/3)/√(10·3), not (5/3)/(10·√3).
    assert np.std(weight) == pytest.approx(0.304, rel=4 / math.sqrt(2 * weight.size))
    assert not np.isclose(np.std(weight), 0.096, rtol=0.5)


def test_a_loss_near_uniform_is_that_of_the_logits_variance(measure):
    losses, variances = [], []
    for seed in range(SEEDS):
        parameters = first_layer_times(5 / 3 / 30**0.5)(NETWORK, jax.random.key(seed))
        _, _, _, loss, logits = measure(parameters)
        logits = np.asarray(logits, np.float64)
        losses.append(float(loss))
        variances.append(logits.var())
        # By log-sum-exp alone, which does not depend on the targets, it holds for each network:
        # the mean variance within a row is (1 - 1/V) of that of independent logits.
        uniform = np.mean(np.log(np.exp(logits).sum(1)) - logits.mean(1))
        predicted = math.log(27) + logits.var(1).mean() / 2
        assert uniform == pytest.approx(predicted, abs=3e-4)
        assert 0.002 < predicted - math.log(27) < 0.02
    predicted = math.log(27) + (1 - 1 / 27) * np.mean(variances) / 2
    error = np.std(losses, ddof=1) / math.sqrt(SEEDS)
    assert np.mean(losses) == pytest.approx(predicted, abs=4 * error)


def test_the_second_moment_stays_at_one_in_a_deep_network_of_the_default_start(names):
    network = CharacterMLP(27, hidden=(200,) * 5)
    examples = build_examples(names.words[:200], Vocabulary.of(names.words), 3)
    contexts = examples.contexts.astype(np.int32)

    @jax.jit
    def moments(key):
        logits, run = network.run(as_values(find_start("fanin")(network, key)), contexts)
        data = evaluate(logits, gradients=False).data
        return jnp.stack([jnp.mean(data[run.outputs[f"hidden.{i}"]] ** 2) for i in range(5)])

    found = np.asarray([moments(jax.random.key(seed)) for seed in range(8)])
    # The embedding of few symbols sets the first layer off; tanh halves what is off at each next.
    error = found.std(0, ddof=1) / math.sqrt(8)
    assert (np.abs(found.mean(0) - 1) < 4 * error + 0.01).all(), found.mean(0)
    assert (error < (0.08, 0.06, 0.05, 0.05, 0.05)).all(), error


def test_one_key_gives_every_scheme_the_same_draws():
    key = jax.random.key(3)
    normal, fanin = (find_start(name)(NETWORK, key) for name in ("normal", "fanin"))
    np.testing.assert_allclose(
        fanin["hidden.0.weight"], normal["hidden.0.weight"] / 30**0.5, rtol=1e-5
    )
    np.testing.assert_allclose(
        fanin["output.weight"], normal["output.weight"] * 0.1 / 200**0.5, rtol=1e-5
    )
    assert np.array_equal(fanin["embedding.weight"], normal["embedding.weight"])


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    first, again, other = (find_start("fanin")(NETWORK, jax.random.key(seed)) for seed in (7, 7, 8))
    for name, array in first.items():
        assert np.array_equal(array, again[name])
        assert "bias" in name or not np.array_equal(array, other[name])


def test_layers_have_streams_of_their_own():
    network = CharacterMLP(27, hidden=(40, 60, 40), activation="relu")
    parameters = find_start("normal")(network, jax.random.key(0))
    streams = {name: np.ravel(array) for name, array in parameters.items()}
    names = [name for name in streams if name.endswith("weight")]
    for index, name in enumerate(names):
        for other in names[:index]:
            size = min(streams[name].size, streams[other].size)
            correlation = np.corrcoef(streams[name][:size], streams[other][:size])[0, 1]
            assert abs(correlation) < 4.5 / math.sqrt(size), (name, other)


def test_a_copy_with_another_rule_changes_that_role_alone():
    key = jax.random.key(0)
    scheme = replace(SCHEMES["fanin"], name="mine", output=Rule("uniform", 2.0, "fan_in"))
    mine, fanin = scheme(NETWORK, key), SCHEMES["fanin"](NETWORK, key)
    assert np.abs(mine["output.weight"]).max() == pytest.approx(2 * (3 / 200) ** 0.5, rel=0.01)
    for name in set(fanin) - {"output.weight"}:
        assert np.array_equal(mine[name], fanin[name])


@pytest.fixture(scope="module")
def corpus(names):
    return Corpus.of(names)


OPTIONS = TrainingOptions(steps=200, lr=0.3, schedule="constant", eval_every=200)
SMALL = CharacterMLP(27, embedding=4, hidden=(12,))


def test_a_zero_output_layer_gives_exactly_log_v_and_learns(corpus):
    parameters = replace(SCHEMES["fanin"], output=ZERO)(SMALL, jax.random.key(0))
    first, *_, last = train(SMALL, parameters, corpus, OPTIONS)
    assert first.dev_loss == pytest.approx(math.log(27), abs=1e-6)  # float32
    assert last.dev_loss < 2.8
    moved = last.state.parameters["hidden.0.weight"] - parameters["hidden.0.weight"]
    assert np.abs(moved).max() > 0.01


def test_equal_hidden_units_stay_equal_for_ever(corpus):
    parameters = dict(SCHEMES["normal"](SMALL, jax.random.key(0)))
    parameters["hidden.0.weight"] = jnp.tile(parameters["hidden.0.weight"][:, :1] * 0.2, (1, 12))
    parameters["hidden.0.bias"] = jnp.zeros(12)
    parameters["output.weight"] = jnp.tile(parameters["output.weight"][:1] * 0.01, (12, 1))
    *_, last = train(SMALL, parameters, corpus, OPTIONS)
    weight = np.asarray(last.state.parameters["hidden.0.weight"])
    assert np.abs(weight - np.asarray(parameters["hidden.0.weight"])).max() > 0.1
    np.testing.assert_allclose(weight, np.tile(weight[:, :1], (1, 12)), atol=1e-4)
    # They are one unit, and learn no more than one: less than the same network with twelve.
    *_, whole = train(SMALL, SCHEMES["fanin"](SMALL, jax.random.key(0)), corpus, OPTIONS)
    assert np.std(whole.state.parameters["hidden.0.weight"], axis=1).min() > 0.05
    assert mean_loss(SMALL, last.state.parameters, corpus.dev) > whole.dev_loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": float("nan")}, "found nan"),
        ({"gain": -1.0}, "found -1.0"),
    ],
)
def test_rules_that_cannot_be(settings, message):
    with pytest.raises(OptionError, match=message):
        replace(find_start("fanin").hidden, **settings)


def test_a_scheme_draws_from_a_key():
    with pytest.raises(OptionError, match=r"found 0\. jax\.random\.key\(0\) would do"):
        find_start("fanin")(CharacterMLP(27), 0)
