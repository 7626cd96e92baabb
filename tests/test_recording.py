import json
import math
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import IndexRangeError
from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.ends import flat_ends
from fanin.diagnosis.recorder import nonlinearities, record
from fanin.errors import ShapeError
from fanin.networks import Bigram, CharacterMLP, initial_statistics
from fanin.starts import find_start
from fanin.training.optimiser import Optimiser

TANH = CharacterMLP(27, hidden=(12, 8))
RELU = CharacterMLP(27, hidden=(24,) * 5, activation="relu")


@pytest.fixture(scope="module")
def examples():
    corpus = Corpus.of(bundled_names())
    some = np.random.default_rng(0).permutation(len(corpus.train))[:1024]
    return corpus.train.contexts[some].astype(np.int32), corpus.train.targets[some].astype(np.int32)


def parameters_of(network, start="normal", seed=0):
    return dict(find_start(start)(network, jax.random.key(seed)))


@pytest.fixture(scope="module")
def parameters():
    return parameters_of(TANH)


@pytest.fixture(scope="module")
def recording(parameters, examples):
    return record(TANH, parameters, *examples, learning_rate=0.2)


@pytest.fixture(scope="module")
def by_hand(parameters, examples):
    """All that the network computes, in float64, and the gradients by JAX's own."""
    p = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    contexts, targets = examples
    x = p["embedding.weight"][contexts].reshape(len(contexts), -1)
    found = {"embedding": x}
    for index in range(2):
        found[f"before.{index}"] = x @ p[f"hidden.{index}.weight"] + p[f"hidden.{index}.bias"]
        x = found[f"after.{index}"] = np.tanh(found[f"before.{index}"])

    def losses(parameters, shifts):
        x = parameters["embedding.weight"][contexts].reshape(len(contexts), -1)
        for index in range(2):
            weight, bias = parameters[f"hidden.{index}.weight"], parameters[f"hidden.{index}.bias"]
            x = jnp.tanh(x @ weight + bias) + shifts[index]
        logits = x @ parameters["output.weight"] + parameters["output.bias"]
        chosen = jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - chosen, logits

    shifts = [jnp.zeros((len(contexts), units)) for units in TANH.hidden]

    def total(parameters, shifts):
        return losses(parameters, shifts)[0].sum()

    slopes, found["gradients"] = jax.grad(total, argnums=(0, 1))(parameters, shifts)
    found["slopes"] = {name: np.asarray(slope) / len(contexts) for name, slope in slopes.items()}
    each, logits = losses(parameters, shifts)
    return found | {"loss": float(each.mean()), "logits": np.asarray(logits, np.float64)}


def test_layers_come_in_order_of_execution_with_their_names(recording):
    assert [layer.name for layer in recording.layers] == [
        "embedding",
        "hidden.0",
        "hidden.1",
        "output",
    ]
    assert [layer.reads for layer in recording.layers] == [
        ("",),
        ("embedding",),
        ("hidden.0",),
        ("hidden.1",),
    ]
    layer = recording.layer("hidden.1")
    assert (layer.kind, layer.role, layer.fan_in, layer.fan_out) == ("linear", "hidden", 12, 8)
    assert (layer.nonlinearity_before, layer.nonlinearity) == ("tanh", "tanh")
    assert (layer.weight, layer.bias) == ("hidden.1.weight", "hidden.1.bias")
    assert recording.layer("hidden.0").nonlinearity_before is None
    assert recording.examples == 1024
    with pytest.raises(KeyError):
        recording.layer("hidden.2")


def test_the_moments_are_those_of_a_pass_by_hand(recording, by_hand):
    for index in range(2):
        layer = recording.layer(f"hidden.{index}")
        for measured, true in (
            (layer.preactivation, by_hand[f"before.{index}"]),
            (layer.activation, by_hand[f"after.{index}"]),
        ):
            assert measured.mean == pytest.approx(true.mean(), abs=1e-5)
            assert measured.std == pytest.approx(true.std(), rel=1e-5)
            assert measured.second_moment == pytest.approx((true**2).mean(), rel=1e-5)
            assert measured.size == true.size


def test_weights_have_their_gain(recording, parameters):
    layer = recording.layer("hidden.0")
    std = np.asarray(parameters["hidden.0.weight"]).std()
    assert layer.weight_std == pytest.approx(std, rel=1e-5)
    assert layer.gain == pytest.approx(std * math.sqrt(30), rel=1e-5)


def test_saturation_counts_both_ends(recording, by_hand):
    for index in range(2):
        after = by_hand[f"after.{index}"]
        saturation = recording.layer(f"hidden.{index}").saturation
        assert saturation.high_share == pytest.approx((after > 0.97).mean(), abs=2e-4)
        assert saturation.low_share == pytest.approx((after < -0.97).mean(), abs=2e-4)
        assert min(saturation.low_share, saturation.high_share) > 0.1
    map_ = recording.layer("hidden.0").map
    first = by_hand["after.0"][:64]
    assert len(map_) == 64
    assert [[mark == "+" for mark in row] for row in map_] == (first > 0.97).tolist()
    assert [[mark == "-" for mark in row] for row in map_] == (first < -0.97).tolist()


def test_gradients_are_those_of_one_examples_loss(recording, by_hand):
    for index in range(2):
        measured = recording.layer(f"hidden.{index}").gradient
        true = np.asarray(by_hand["gradients"][index], np.float64)
        assert measured.second_moment == pytest.approx((true**2).mean(), rel=1e-3)


def test_parameters_have_their_ratios(recording, parameters, by_hand):
    for own in recording.parameters:
        data, slope = np.asarray(parameters[own.name]), by_hand["slopes"][own.name]
        ratio = math.sqrt((slope**2).mean() / (data**2).mean())
        assert own.gradient_to_data == pytest.approx(ratio, rel=1e-3)
        assert own.update_to_data == pytest.approx(math.log10(0.2 * ratio), abs=1e-3)


def test_updates_are_those_of_the_optimiser_that_was_asked_for(parameters, examples):
    adam = record(TANH, parameters, *examples, learning_rate=0.01, optimiser=Optimiser("adam"))
    assert adam.optimiser == "adam"
    for own in adam.parameters:
        # Adam's first step is the learning rate in each entry that has a gradient.
        size = math.sqrt(own.data.second_moment)
        assert own.update_to_data == pytest.approx(math.log10(0.01 / size), abs=0.02)
    decayed = Optimiser("sgd", weight_decay=1.0)
    plain, decayed = (
        record(TANH, parameters, *examples, optimiser=each).layer("hidden.1").parameters[0]
        for each in (Optimiser(), decayed)
    )
    together = math.sqrt(decayed.gradient_to_data**2 + 1)
    assert decayed.update_to_data == pytest.approx(math.log10(0.1 * together), abs=0.02)
    assert plain.update_to_data < decayed.update_to_data


def test_the_loss_and_what_the_logits_are(recording, by_hand):
    loss, logits = recording.loss, by_hand["logits"]
    assert loss.value == pytest.approx(by_hand["loss"], rel=1e-5)
    assert loss.classes == 27
    assert loss.output.std == pytest.approx(logits.std(), rel=1e-4)
    assert loss.output_variance == pytest.approx(logits.var(axis=1).mean(), rel=1e-4)
    means = logits.mean(axis=0)
    assert loss.class_offset == pytest.approx(np.abs(means - means.mean()).max(), rel=1e-4)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = (1 / probabilities.sum(axis=1)).mean()
    assert loss.largest_probability == pytest.approx(sure, rel=1e-4)
    assert 2.5 < loss.target_entropy < 3.0  # of letters, in nats


def test_how_alike_examples_are(recording, by_hand):
    x = by_hand["after.1"]
    unit = x[:256] / np.linalg.norm(x[:256], axis=1, keepdims=True)
    apart = (unit @ unit.T)[~np.eye(256, dtype=bool)]
    between = recording.layer("hidden.1").between
    assert between.correlation == pytest.approx(apart.mean(), abs=1e-4)
    assert between.varying_share == pytest.approx(x.var(axis=0).sum() / (x**2).mean(0).sum(), 1e-4)


def test_a_recording_is_made_of_plain_values(recording):
    def plain(value):
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, tuple):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(asdict(recording))
    json.dumps(asdict(recording), allow_nan=False)


def test_dead_units_are_fewer_on_more_examples(examples):
    contexts, targets = examples
    found = []
    for count in (32, 1024):
        dead = 0
        for seed in range(4):
            recorded = record(
                RELU, parameters_of(RELU, "fanin", seed), contexts[:count], targets[:count]
            )
            dead += sum(len(layer.dead_units) for layer in recorded.layers)
        found.append(dead / (4 * 24 * 5))
    assert found[0] > 1.5 * found[1] > 0.0


def test_zeros_of_relu_are_counted_and_its_dead_units_named(examples):
    parameters = parameters_of(RELU, "fanin")
    bias = parameters["hidden.2.bias"]
    parameters["hidden.2.bias"] = bias.at[np.array([3, 7])].set(-50.0)
    layer = record(RELU, parameters, *examples).layer("hidden.2")
    assert {3, 7} <= set(layer.dead_units)
    assert layer.outlying_biases == (3, 7)
    assert layer.activation.zero_share == pytest.approx(layer.saturation.low_share)
    assert layer.activation.zero_share > 2 / 24
    assert layer.saturation.high is None


def test_copied_units_with_copied_readers_are_twins_and_others_only_copies(parameters, examples):
    spoilt = dict(parameters)
    for name in ("hidden.0.weight", "hidden.0.bias"):
        spoilt[name] = spoilt[name].at[..., 5].set(spoilt[name][..., 2])
    layer = record(TANH, spoilt, *examples).layer("hidden.0")
    assert (layer.copies, layer.twins) == (((2, 5),), ())
    onward = spoilt["hidden.1.weight"]
    spoilt["hidden.1.weight"] = onward.at[5].set(onward[2])
    layer = record(TANH, spoilt, *examples).layer("hidden.0")
    assert (layer.copies, layer.twins) == (((2, 5),), ((2, 5),))


def test_equal_symbols_of_an_embedding_are_copies(parameters, examples):
    weight = parameters["embedding.weight"]
    spoilt = parameters | {"embedding.weight": weight.at[9].set(weight[4])}
    assert record(TANH, spoilt, *examples).layer("embedding").copies == ((4, 9),)


def test_one_key_used_twice_is_told(parameters, examples):
    key = jax.random.key(8)
    spoilt = dict(parameters)
    for name in ("hidden.0.weight", "output.weight"):
        spoilt[name] = 0.3 * jax.random.normal(key, spoilt[name].shape)
    (pair,) = record(TANH, spoilt, *examples).shared_streams
    assert (pair.first, pair.second) == ("hidden.0.weight", "output.weight")


@pytest.mark.parametrize(
    ("name", "value", "place", "what"),
    [
        ("hidden.1.weight", math.nan, "hidden.1.weight", "parameter"),
        ("embedding.weight", math.inf, "embedding.weight", "parameter"),
        ("output.bias", -math.inf, "output.bias", "parameter"),
        ("hidden.0.weight", 3e38, "hidden.0", "output"),
    ],
)
def test_the_first_place_that_is_not_finite_is_named(
    parameters, examples, name, value, place, what
):
    array = parameters[name]
    spoilt = parameters | {name: array.at[(0,) * array.ndim].set(value)}
    if what == "output":
        spoilt["embedding.weight"] = 1e3 * spoilt["embedding.weight"]
    first = record(TANH, spoilt, *examples).not_finite
    assert (first.place, first.what) == (place, what)
    assert place in first.text


def test_an_infinite_statistic_is_found():
    network = CharacterMLP(27, hidden=(6, 6), normalisation="batch")
    parameters = parameters_of(network, "fanin")
    contexts = np.random.default_rng(0).integers(0, 27, (64, 3)).astype(np.int32)
    statistics = initial_statistics(network, parameters, contexts)
    name = "hidden.1.normalisation.variance"
    statistics[name] = statistics[name].at[2].set(np.inf)
    recorded = record(network, parameters, contexts, contexts[:, 0], statistics=statistics)
    assert (recorded.not_finite.place, recorded.not_finite.what) == (name, "statistic")
    layer = recorded.layer("hidden.1")
    assert layer.normalisation == "batch"
    assert layer.normalised.std == pytest.approx(1.0, abs=0.01)
    assert layer.bias is None  # batch normalisation would take it off


def test_residual_networks_are_recorded_with_their_sums(examples):
    network = CharacterMLP(27, hidden=(8, 8, 8), normalisation="layer", residual=True)
    recorded = record(network, parameters_of(network, "fanin"), *examples)
    sums = [layer for layer in recorded.layers if layer.kind == "sum"]
    assert [layer.name for layer in sums] == ["hidden.1.sum", "hidden.2.sum"]
    assert sums[1].reads[0] == "hidden.1.sum"
    assert recorded.layer("hidden.2").role == "residual"
    assert recorded.layer("hidden.2").branches == 2


def test_the_bigram_network_is_recorded(examples):
    network = Bigram(27)
    recorded = record(network, parameters_of(network), *examples_of_block(1, examples))
    assert recorded.layers[-1].role == "output"
    assert recorded.loss.value > 3.0


def examples_of_block(block, examples):
    return examples[0][:, -block:], examples[1]


def test_labels_and_symbols_out_of_range_are_errors_before_the_pass(parameters, examples):
    contexts, targets = examples
    for bad in (27, -1):
        with pytest.raises(IndexRangeError, match=str(bad)):
            record(TANH, parameters, contexts, np.where(np.arange(1024) == 5, bad, targets))
        with pytest.raises(IndexRangeError, match=str(bad)):
            record(TANH, parameters, np.where(contexts == 3, bad, contexts), targets)


def test_arrays_that_do_not_fit_are_errors_that_say_so(parameters, examples):
    contexts, targets = examples
    with pytest.raises(ShapeError, match=r"\[examples, 3\].*\[1024, 2\]"):
        record(TANH, parameters, contexts[:, :2], targets)
    with pytest.raises(ShapeError, match=r"\[0\]"):
        record(TANH, parameters, contexts[:0], targets[:0])


def test_flat_ends_are_where_the_slope_gives_out():
    known = nonlinearities(TANH) | nonlinearities(RELU)
    low, high = flat_ends(known["tanh"])
    assert math.tanh(high) == pytest.approx(0.97, abs=1e-6)
    assert low == pytest.approx(-high)
    assert flat_ends(known["relu"]) == (0.0, None)
