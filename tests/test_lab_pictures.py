"""What the lesson's pictures draw: curves that stay short, planes that do not jump, formulas."""

import importlib.util

import numpy as np
import pytest

if importlib.util.find_spec("marimo") is None or importlib.util.find_spec("anywidget") is None:
    pytest.skip("marimo is not installed: pip install 'fanin[lab]'", allow_module_level=True)

import jax

from fanin.corpus import Corpus, bundled_names
from fanin.errors import OptionError, WordsError
from fanin.lab.curve import MOST_BINS, Curve
from fanin.lab.deep import expected_correlations, expected_signals, measured_signals
from fanin.lab.formula import activation_of_formula
from fanin.lab.one_pass import within
from fanin.lab.pictures.letters import plane
from fanin.lab.pictures.saturation import saturation_codes
from fanin.lab.showing import different_units, gains_of, output_histogram
from fanin.lab.starting import scaled, with_equal_units
from fanin.lab.wording import uploaded_words
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.theory import TheoryError, find_nonlinearity


@pytest.mark.parametrize("count", [0, 1, 599, 600, 601, 5_000, 20_001])
@pytest.mark.parametrize("chunk", [1_000, 37])
def test_a_curve_keeps_least_mean_and_largest_however_it_comes(count, chunk):
    losses = np.random.default_rng(0).random(count).astype(np.float32)
    curve = Curve()
    for first in range(0, count, chunk):
        curve.add(losses[first : first + chunk])
    steps, (least, mean, largest) = curve.drawn()
    assert len(steps) <= MOST_BINS + 1
    assert curve.steps == count
    edges = list(range(0, count, curve.width))
    parts = [losses[edge : edge + curve.width] for edge in edges]
    np.testing.assert_allclose(least, [part.min() for part in parts])
    np.testing.assert_allclose(largest, [part.max() for part in parts])
    np.testing.assert_allclose(mean, [part.mean() for part in parts], rtol=1e-5)
    assert all(np.diff(steps) > 0)


def test_the_plane_turns_as_little_as_it_can():
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((27, 3))
    first, share = plane(embedding, None)
    assert 0.6 < share <= 1
    moved, _ = plane(embedding + 0.01 * rng.standard_normal((27, 3)), first)
    assert np.abs(moved - first).max() < 0.3
    turned, _ = plane(embedding @ np.linalg.qr(rng.standard_normal((3, 3)))[0], first)
    np.testing.assert_allclose(turned, first, atol=1e-9)


def test_an_embedding_of_one_number_lies_on_a_line():
    places, share = plane(np.arange(5.0)[:, None], None)
    assert share == pytest.approx(1)
    assert not places[:, 1].any()


def test_the_saturation_map_shows_both_ends():
    codes = saturation_codes(np.array([[0.98, -0.98], [0.97, 0.0]]), 0.97)
    assert codes.tolist() == [[1, -1], [0, 0]]


def test_the_histogram_counts_everything_once():
    outputs = np.array([-1.0, -0.98, -0.5, 0.0, 0.5, 0.975, 1.0, 1.0])
    between, beyond = (np.frombuffer(s["y"], np.float32) for s in output_histogram(outputs))
    assert between.sum() == pytest.approx(100 * 3 / 8)
    assert beyond.sum() == pytest.approx(100 * 5 / 8)


def test_a_formula_is_the_function_that_it_says():
    z = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(activation_of_formula("max(z, 0.1 * z)")(z), np.maximum(z, 0.1 * z))
    np.testing.assert_allclose(activation_of_formula("-z^2 + 1")(z), 1 - z**2, rtol=1e-6)
    _, gains = gains_of("tanh", "tanh(z)")
    assert gains.forward_gain == pytest.approx(1.592537, abs=1e-5)
    assert gains_of("relu")[1].forward_gain == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') + z",
        "z.real",
        "open(z)",
        "z if z else 0",
        "[z]",
        "z @ z",
        "lambda: z",
        "z + 'a'",
        "z and True",
        "(z := 3)",
        "max(z)",
        "tanh(z, out=z)",
        "1 + 1",
        "z +",
        "z" + "+z" * 200,
        "((((" * 40 + "z",
    ],
)
def test_what_is_no_formula_is_refused_in_words(text):
    with pytest.raises(OptionError):
        activation_of_formula(text)


def test_a_formula_that_is_not_finite_is_refused():
    with pytest.raises(TheoryError, match=r"1 / \(z - z\)"):
        gains_of("tanh", "1 / (z - z)")


def test_measured_and_expected_signals_agree():
    tanh = find_nonlinearity("tanh")
    measured, expected = (f(tanh, 5 / 3, 10) for f in (measured_signals, expected_signals))
    np.testing.assert_allclose(measured.activations, expected.activations, rtol=0.1)
    np.testing.assert_allclose(measured.gradients, expected.gradients, rtol=0.35)
    known = expected_correlations(tanh, 5 / 3)[:11]
    np.testing.assert_allclose(measured.correlations, known, atol=0.15)
    with pytest.raises(OptionError, match="from 1 to 24"):
        measured_signals(tanh, 1.0, 25)


def test_a_layer_draws_the_same_whatever_the_depth():
    tanh = find_nonlinearity("tanh")
    deep, shallow = (measured_signals(tanh, 1.2, depth, seed=3) for depth in (9, 4))
    np.testing.assert_array_equal(deep.activations[:5], shallow.activations)


@pytest.fixture(scope="module")
def network():
    return CharacterMLP(27, block=4, embedding=3, hidden=(20,))


@pytest.fixture(scope="module")
def examples():
    corpus = Corpus.of(bundled_names(), block=4)
    return corpus.train.contexts[:64], corpus.train.targets[:64]


def test_a_scaled_start_is_the_same_numbers_scaled(network, examples):
    parameters = find_start("normal")(network, jax.random.key(0))
    changed = scaled(parameters, {"output.weight": 0.01, "output.bias": 0.0})
    np.testing.assert_array_equal(changed["hidden.0.weight"], parameters["hidden.0.weight"])
    before, after = (within(network, each, *examples) for each in (parameters, changed))
    np.testing.assert_array_equal(
        before.outputs["hidden.0.activation"], after.outputs["hidden.0.activation"]
    )
    assert after.loss == pytest.approx(np.log(27), abs=0.05)
    assert before.loss > 5
    through = 1 - after.outputs["hidden.0.activation"] ** 2
    np.testing.assert_allclose(
        after.gradients["hidden.0"],
        after.gradients["hidden.0.activation"] * through,
        atol=1e-7,
    )


def test_equal_units_are_equal_inwards_and_outwards(network):
    parameters = with_equal_units(find_start("normal")(network, jax.random.key(0)))
    assert different_units(np.asarray(parameters["hidden.0.weight"])) == 1
    assert np.ptp(parameters["output.weight"], axis=0).max() == 0
    assert np.ptp(parameters["hidden.0.bias"]) == 0


class Uploaded:
    def __init__(self, contents):
        self.name, self.contents = "mine.txt", contents


def test_ones_own_list_keeps_its_name_in_what_is_said_of_it():
    assert uploaded_words([]) is None
    words = uploaded_words([Uploaded(b"ann\nbob\nann\n")])
    assert (words.words, words.source, words.duplicates) == (("ann", "bob"), "mine.txt", 1)
    with pytest.raises(WordsError, match=r"^mine\.txt, line 2: is not UTF-8"):
        uploaded_words([Uploaded(b"ann\n\xff\n")])
