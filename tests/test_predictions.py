"""Theory beside what is measured: the figures of the deep tanh network, and who is at fault."""

import math

import jax
import numpy as np
import pytest

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.predictions import predict
from fanin.diagnosis.recorder import nonlinearities, record
from fanin.networks import CharacterMLP
from fanin.starts import find_start

DEEP = CharacterMLP(27, hidden=(200,) * 20)
WIDE = CharacterMLP(27, hidden=(64,) * 4)


@pytest.fixture(scope="module")
def examples():
    corpus = Corpus.of(bundled_names())
    some = np.random.default_rng(0).permutation(len(corpus.train))[:1024]
    return corpus.train.contexts[some].astype(np.int32), corpus.train.targets[some].astype(np.int32)


def start(network, gain, seed=0):
    """Zero biases, and every hidden weight of one gain on its fan-in."""
    parameters = dict(find_start("fan-in")(network, jax.random.key(seed)))
    for name in parameters:
        if name.startswith("hidden") and name.endswith("weight"):
            parameters[name] = parameters[name] * gain
    return parameters


def measured(network, parameters, examples):
    recording = record(network, parameters, *examples)
    return recording, {each.layer: each for each in predict(recording, nonlinearities(network))}


def test_tanh_at_five_thirds_settles_at_depth_and_its_gradients_grow(examples):
    recording, predictions = measured(DEEP, start(DEEP, 5 / 3), examples)
    hidden = [recording.layer(f"hidden.{index}") for index in range(20)]
    deep = [layer.activation.std for layer in hidden[8:]]
    assert np.mean(deep) == pytest.approx(0.651, abs=0.01)
    assert np.mean([layer.saturation.share for layer in hidden[8:]]) == pytest.approx(0.054, 0.15)
    ratio = hidden[5].gradient.second_moment / hidden[15].gradient.second_moment
    assert ratio ** (1 / 10) == pytest.approx(1.21, abs=0.04)
    last = predictions["hidden.19"]
    assert last.activation_std.from_input == pytest.approx(0.6513, abs=4e-3)
    assert last.preactivation.from_input == pytest.approx(1.1785, abs=0.03)
    assert last.gradient_growth.from_input == pytest.approx(1.2098, abs=0.01)
    assert last.saturated_share.from_input == pytest.approx(0.054, abs=3e-3)


def test_tanh_at_gain_one_shrinks_as_theory_says(examples):
    recording, predictions = measured(DEEP, start(DEEP, 1.0), examples)
    # From an input of second moment 1: facts of mean-field theory, 0.628, 0.486, 0.408, 0.358.
    for index, expected in enumerate((0.628, 0.486, 0.408, 0.358)):
        name = f"hidden.{index}"
        predicted = predictions[name].activation_std.from_input
        assert recording.layer(name).activation.std == pytest.approx(predicted, rel=0.08)
        assert predicted == pytest.approx(expected, rel=0.08)
    shrunk = [recording.layer(f"hidden.{index}").activation.std for index in range(20)]
    assert shrunk[19] < 0.5 * shrunk[3]


def test_measured_moments_lie_within_the_spread_of_theory(examples):
    """Over seeds and layers: in units of the spread, deviations of about one and none of five."""
    ahead, from_input = [], []
    for seed in range(8):
        recording, predictions = measured(WIDE, start(WIDE, 1.5, seed), examples)
        for layer in recording.layers[1:]:
            predicted = predictions[layer.name]
            for found, theory in (
                (layer.preactivation.second_moment, predicted.preactivation),
                (layer.activation.second_moment, predicted.activation),
            ):
                if theory is predicted.activation and layer.nonlinearity is None:
                    continue  # it is the pre-activation, given
                ahead.append(math.log(found / theory.ahead) / theory.spread_ahead)
                from_input.append(math.log(found / theory.from_input) / theory.spread_from_input)
    for deviations in (ahead, from_input):
        assert max(map(abs, deviations)) < 5
        assert 0.3 < np.sqrt(np.mean(np.square(deviations))) < 1.5


def test_the_fault_is_where_the_prediction_ahead_fails(examples):
    """Weights that read their own input's direction: what follows them is only downstream."""
    parameters = start(WIDE, 1.5)
    weight = np.array(parameters["hidden.1.weight"])
    recording, _ = measured(WIDE, parameters, examples)
    inputs = np.tanh(
        np.asarray(parameters["embedding.weight"])[examples[0]].reshape(1024, -1)
        @ np.asarray(parameters["hidden.0.weight"])
    )
    # All units look where this layer's input has most of its power: no random weights do.
    direction = np.linalg.svd(inputs, full_matrices=False)[2][0]
    aligned = np.outer(direction, np.ones(64)) * np.sqrt((weight**2).sum() / 64)
    parameters["hidden.1.weight"] = jax.numpy.asarray(aligned, jax.numpy.float32)
    recording, predictions = measured(WIDE, parameters, examples)

    def deviation(name, which):
        theory = predictions[name].preactivation
        q = recording.layer(name).preactivation.second_moment
        return abs(math.log(q / getattr(theory, which)))

    assert deviation("hidden.1", "ahead") > 3 * predictions["hidden.1"].preactivation.spread_ahead
    assert deviation("hidden.1", "from_input") > 0.5
    assert deviation("hidden.2", "from_input") > 2 * deviation("hidden.2", "ahead")


def test_where_there_is_no_theory_it_says_so(examples):
    recording = record(WIDE, start(WIDE, 1.5), *examples)
    predictions = {each.layer: each for each in predict(recording, {})}
    assert predictions["hidden.1"].activation.from_input is None
    assert "tanh is not known" in predictions["hidden.1"].activation.no_theory
    embedding = predictions["embedding"]
    assert embedding.preactivation.from_input is None
    assert "embedding" in embedding.preactivation.no_theory


def test_an_example_correlation_has_its_prediction(examples):
    recording, predictions = measured(WIDE, start(WIDE, 1.0), examples)
    for index in range(1, 4):
        name = f"hidden.{index}"
        predicted = predictions[name].correlation.ahead
        assert recording.layer(name).between.correlation == pytest.approx(predicted, abs=0.08)
