"""Moments through networks: mean field against wide random networks, and what has no theory."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.theory import (
    ACTIVATIONS,
    Activation,
    Linear,
    Nonlinearity,
    Normalise,
    NoTheory,
    Residual,
    Signal,
    TheoryError,
    gradient_moments,
    propagate,
)

TANH, RELU = Activation(ACTIVATIONS["tanh"]), Activation(ACTIVATIONS["relu"])

# One width for every layer; the batch is smaller, so that its correlations can be set exactly.
WIDTH, BATCH, NETWORKS = 512, 128, 8
CORRELATION = 0.4


def simulate(parts, x, generator):
    """The outputs of each part of one random network, and what takes a gradient back through it."""
    outputs, backs = [], []
    for part in parts:
        x, back = step(part, x, generator)
        outputs.append(x)
        backs.append(back)
    return outputs, backs


def step(part, x, generator):
    match part:
        case Linear():
            fans = (part.fan_in, part.fan_out) if part.fan_in > 1 else (x.shape[1], x.shape[1])
            weight = generator.normal(size=fans) * math.sqrt(part.weight_variance / fans[0])
            bias = generator.normal(size=fans[1]) * math.sqrt(part.bias_variance)
            return x @ weight + bias, lambda g: g @ weight.T
        case Activation():
            slopes = part.nonlinearity.slopes(x)
            return part.nonlinearity.values(x), lambda g: g * slopes
        case Normalise():
            axis = 1 if part.kind == "layer" else 0
            scale = 1 / np.sqrt(x.var(axis, keepdims=True) + part.epsilon)
            y = (x - x.mean(axis, keepdims=True)) * scale

            def through_statistics(g):
                along = y * (g * y).mean(axis, keepdims=True)
                return scale * (g - g.mean(axis, keepdims=True) - along)

            return y, through_statistics
        case Residual():
            outputs, backs = simulate(part.branch, x, generator)

            def around_and_through(g):
                above = g
                for back in reversed(backs):
                    g = back(g)
                return above + part.scale * g

            return x + part.scale * outputs[-1], around_and_through


@cache
def inputs():
    """Examples of exactly unit second moment, any two of them with exactly that correlation."""
    normal = np.random.default_rng(1).normal(size=(WIDTH, BATCH + 1))
    basis = np.linalg.qr(normal)[0].T * math.sqrt(WIDTH)
    return math.sqrt(CORRELATION) * basis[0] + math.sqrt(1 - CORRELATION) * basis[1:]


def measure(parts):
    """Means over networks, and their standard errors: a row for each part, a column for a moment.

    Columns: second moment, mean, correlation of the output; gradient at the input.
    """
    generator = np.random.default_rng(0)
    networks = []
    for _ in range(NETWORKS):
        outputs, backs = simulate(parts, inputs(), generator)
        gradient = generator.normal(size=outputs[-1].shape)
        size = (gradient**2).mean()
        rows = []
        for output, back in zip(reversed(outputs), reversed(backs), strict=True):
            gradient = back(gradient)
            power = (output**2).sum()
            common = (output.sum(0) ** 2).sum()
            correlation = (common - power) / (BATCH - 1) / power
            rows.append(
                [(output**2).mean(), output.mean(), correlation, (gradient**2).mean() / size]
            )
        networks.append(rows[::-1])
    found = np.array(networks)
    return found.mean(0), found.std(0, ddof=1) / math.sqrt(NETWORKS)


def expect(parts):
    through = propagate(parts, Signal.correlated(CORRELATION))
    gradients = gradient_moments(through)
    return np.array(
        [
            [moments.output.second_moment, moments.output.mean, moments.output.correlation, back]
            for moments, back in zip(through, gradients, strict=True)
        ]
    )


NETWORK_KINDS = {
    "tanh": (Linear(2.0, 0.1), TANH) * 4,
    "relu": (Linear(2.0, 0.05), RELU) * 4,
    "selu": (Linear(1.0), Activation(ACTIVATIONS["selu"])) * 4,
    "gelu": (Linear(2.3), Activation(ACTIVATIONS["gelu"])) * 4,
    "sigmoid": (Linear(3.4), Activation(ACTIVATIONS["sigmoid"])) * 3,
    "layer normalisation, tanh": (Linear(0.3, 0.1), Normalise("layer"), TANH) * 4,
    "layer normalisation, relu": (Linear(0.3, 0.1), Normalise("layer"), RELU) * 4,
    "batch normalisation, tanh": (Linear(0.3, 0.1), Normalise("batch"), TANH) * 3,
    "batch normalisation, relu": (Linear(0.3, 0.1), Normalise("batch"), RELU) * 3,
    "residual": (Linear(1.0), *(Residual((TANH, Linear(1.7, 0.1)), 0.5),) * 4),
    "residual, layer, relu": (
        Linear(2.0),
        *(Residual((Normalise("layer"), RELU, Linear(2.0)), 0.7),) * 3,
    ),
    "residual, batch, tanh": (
        Linear(2.0),
        *(Residual((Normalise("batch"), TANH, Linear(2.0)), 0.7),) * 3,
    ),
    "residual, activation last": (Residual((Normalise("layer"), Linear(1.5), RELU)),) * 3,
    "residual, batch, activation last": (Residual((Normalise("batch"), Linear(1.5), RELU)),) * 3,
    "unequal widths": (
        Linear(2.0, fan_in=512, fan_out=256),
        RELU,
        Linear(2.0, fan_in=256, fan_out=1024),
        RELU,
    ),
}


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_wide_random_networks_do_what_mean_field_says(kind):
    parts = NETWORK_KINDS[kind]
    found, error = measure(parts)
    expected = expect(parts)
    # Five standard errors of the mean over the networks; and beside them what mean field leaves
    # out, of order depth/width, and of order 1/batch for each batch normalisation.
    depth = sum(not isinstance(part, Activation) for part in parts)
    left_out = 2 * depth / WIDTH + (2 * depth / BATCH if "batch" in kind else 0.0)
    np.testing.assert_array_less(
        np.abs(found - expected), 5 * error + left_out * np.maximum(np.abs(expected), 0.5)
    )
    # A second moment that is a fifth too large would be seen.
    relative = (5 * error + left_out * expected)[:, 0] / expected[:, 0]
    assert np.median(relative) < 0.2


def test_the_logarithm_of_a_moment_wanders_with_a_variance_of_depth_over_width():
    generator = np.random.default_rng(2)
    spread = {}
    for depth, width in ((6, 32), (6, 96), (12, 96)):
        logarithms = []
        for _ in range(200):
            outputs, _ = simulate((Linear(2.0), RELU) * depth, np.ones((1, width)), generator)
            logarithms.append(math.log((outputs[-1] ** 2).mean()))
        spread[depth, width] = np.var(logarithms)
    # Variances from 200 samples have standard errors of 10 %.
    assert spread[6, 32] / spread[6, 96] == pytest.approx(3.0, rel=0.4)
    assert spread[12, 96] / spread[6, 96] == pytest.approx(2.0, rel=0.4)


def test_the_published_decay_of_tanh_at_gain_one():
    through = propagate((Linear(1.0), TANH) * 4, Signal())
    stds = [moments.output.std for moments in through[1::2]]
    assert stds == pytest.approx([0.628, 0.486, 0.408, 0.358], abs=5e-4)


def test_deep_relu_and_sigmoid_networks_make_different_inputs_one():
    # Twenty relu layers leave 5.6 % of the pre-activations' power to differ over the batch (a
    # network of width 200 about a tenth); the fifth sigmoid layer 0.05 %.
    signal = Signal.correlated(0.0)
    relu = propagate((Linear(1.0), *(RELU, Linear(2.0)) * 19), signal)
    assert relu[-1].output.decorrelation == pytest.approx(0.0555, abs=5e-5)
    sigmoid = Activation(ACTIVATIONS["sigmoid"])
    deep = propagate((Linear(1.0), *(sigmoid, Linear(1.84623**2)) * 4), signal)
    assert deep[-1].output.decorrelation == pytest.approx(0.0005, abs=5e-5)


def test_twenty_tanh_layers_at_the_forward_gain():
    deep = propagate((Linear(1.0), *(TANH, Linear(1.59254**2)) * 19), Signal())
    assert deep[-1].output.second_moment == pytest.approx(1.0, abs=1e-5)
    assert gradient_moments(deep)[1] == pytest.approx(22.41, abs=0.01)


def test_relu_gradients_explode_through_batch_normalisation():
    # Yang et al. 2019: π/(π − 1) a layer.
    layer = (Linear(1.0), Normalise("batch", epsilon=0.0), RELU)
    gradients = gradient_moments(propagate(layer * 3, Signal.correlated(0.2)))
    assert gradients[3] / gradients[6] == pytest.approx(math.pi / (math.pi - 1), rel=1e-9)


def test_normalisation_makes_the_scale_of_weights_irrelevant():
    for kind in ("layer", "batch"):
        small, large = (
            propagate(
                (Linear(variance), Normalise(kind, epsilon=0.0), TANH), Signal.correlated(0.5)
            )
            for variance in (0.01, 100.0)
        )
        assert small[-1].output.second_moment == pytest.approx(large[-1].output.second_moment)
        assert small[-1].output.correlation == pytest.approx(large[-1].output.correlation)


def test_layer_normalisation_takes_the_mean_away():
    signal = Signal(second_moment=5.0, mean=2.0, decorrelation=0.2)
    output = Normalise("layer", epsilon=0.0).moments(signal).output
    assert (output.second_moment, output.mean) == (1.0, 0.0)
    # Of E[x₁x₂] = 4 the means account for all.
    assert output.correlation == pytest.approx(0.0)


def test_from_a_measured_input_onwards():
    # What a diagnosis asks: the measured second moment of a layer's input, then one layer.
    linear, activation = propagate((Linear(30 * 0.04, 0.01), TANH), Signal(0.98))
    assert linear.output.second_moment == pytest.approx(1.2 * 0.98 + 0.01)
    assert linear.output.correlation is None
    assert activation.output.decorrelation is None
    assert 0.6 < activation.output.std < 0.7


def test_activations_of_what_is_no_weighted_sum_have_no_theory():
    twice = propagate((Linear(1.0), TANH, TANH, Linear(1.0)), Signal())
    assert isinstance(twice[1].output, Signal)
    for part in twice[2:]:
        assert isinstance(part.output, NoTheory)
        assert "tanh is not given a layer's weighted sums" in str(part.output)
    assert all(isinstance(moment, NoTheory) for moment in gradient_moments(twice))
    # A stream to which only weighted sums were added is one.
    stream = (Linear(1.0), Residual((TANH, Linear(1.0))), TANH)
    assert isinstance(propagate(stream, Signal())[-1].output, Signal)


def test_batch_normalisation_without_correlation_has_no_gradient_theory():
    through = propagate((Linear(1.0), Normalise("batch"), TANH), Signal())
    assert through[1].output.second_moment == 1.0
    gradients = gradient_moments(through)
    assert gradients[2] == through[2].chi
    assert isinstance(gradients[1], NoTheory)
    assert gradients[0] == gradients[1]
    block = Residual((Normalise("batch"), TANH, Linear(1.0)))
    alone = propagate((Linear(1.0), block), Signal())
    assert isinstance(alone[1].chi, NoTheory)
    assert alone[1].output.second_moment > 1.0


def test_a_branch_without_weights_has_no_theory():
    (through,) = propagate((Residual((TANH,)),), Signal(gaussian=True))
    assert isinstance(through.output, NoTheory)
    assert isinstance(through.chi, NoTheory)
    assert "without weights of its own" in through.output.reason


@settings(max_examples=20)
@given(
    correlation=st.floats(-1.0, 1.0),
    weight_variance=st.floats(0.0, 5.0),
    bias_variance=st.floats(0.0, 2.0),
    name=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_every_signal_keeps_to_its_bounds(correlation, weight_variance, bias_variance, name):
    activation = Activation(ACTIVATIONS[name])
    block = Residual((Normalise("layer"), activation, Linear(weight_variance, bias_variance)))
    parts = (Linear(weight_variance, bias_variance), activation, Linear(1.0), block, activation)
    for moments in propagate(parts, Signal.correlated(correlation)):
        assert moments.output.second_moment >= 0.0
        assert -1.0 <= moments.output.correlation <= 1.0
        assert moments.chi >= 0.0


def test_signals_and_parts_that_cannot_be_are_refused():
    with pytest.raises(TheoryError, match="A second moment is a finite number from 0 up"):
        Signal(-1.0)
    with pytest.raises(TheoryError, match="has a second moment of at least its square, not 1"):
        Signal(1.0, mean=1.5)
    with pytest.raises(TheoryError, match=r"A correlation lies between -1 and 1, not at 1\.2"):
        Signal.correlated(1.2)
    with pytest.raises(TheoryError, match="A weight variance is"):
        Linear(-2.0)
    with pytest.raises(TheoryError, match="A bias variance is"):
        Linear(1.0, math.nan)
    with pytest.raises(TheoryError, match="Fans are 1 or more, not 0 and 3"):
        Linear(1.0, fan_in=0, fan_out=3)


def test_a_signal_that_grows_beyond_all_numbers_has_no_theory_from_there_on():
    square = Activation(Nonlinearity("z² − 1", lambda z: z**2 - 1, lambda z: 2 * z))
    through = propagate((Linear(4.0), square) * 12, Signal())
    assert through[1].output.second_moment == pytest.approx(3 * 16 - 2 * 4 + 1)
    assert isinstance(through[-1].output, NoTheory)
    assert isinstance(gradient_moments(through)[0], NoTheory)
    assert isinstance(gradient_moments(through)[-1], NoTheory)
