"""Batch and layer normalisation: what they do to moments, units and gradients."""

import numpy as np
import pytest

from fanin.autograd import Value
from fanin.errors import ShapeError


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(3, 5, shape).astype("float32")


ONES, ZEROS = np.ones(4, np.float32), np.zeros(4, np.float32)


def test_batch_normalisation_makes_every_unit_standard():
    y = np.asarray(Value(numbers(64, 4)).batch_normalise(ONES, ZEROS).forward().data)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-5)


def test_units_are_the_last_axis():
    y = np.asarray(Value(numbers(8, 3, 4)).batch_normalise(ONES, ZEROS).forward().data)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((0, 1)), 1, rtol=1e-5)


def test_layer_normalisation_makes_every_example_standard():
    y = np.asarray(Value(numbers(8, 3, 4)).layer_normalise(ONES, ZEROS).forward().data)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)


@pytest.mark.parametrize("operation", ["batch_normalise", "layer_normalise"])
def test_gain_and_bias_are_those_of_the_units(operation):
    x = Value(numbers(16, 4))
    gain, bias = np.float32([1, 2, 3, 0]), np.float32([0, 10, -10, 5])
    plain = getattr(x, operation)(ONES, ZEROS).forward().data
    y = getattr(x, operation)(gain, bias).forward().data
    np.testing.assert_allclose(y, plain * gain + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("operation", "axis"), [("batch_normalise", 0), ("layer_normalise", -1)])
def test_the_gradient_cannot_shift_or_stretch_what_is_normalised(operation, axis):
    # The result does not change when x is shifted or stretched, so the gradient is at right
    # angles to both.
    x, above = Value(numbers(16, 4)), numbers(16, 4, seed=1)
    getattr(x, operation)(ONES, ZEROS, 0.0).backward(above)
    np.testing.assert_allclose(x.grad.sum(axis), 0, atol=1e-5)
    np.testing.assert_allclose((x.grad * x.data).sum(axis), 0, atol=1e-4)
    assert np.abs(x.grad).max() > 0.01


def test_units_that_do_not_vary_stay_finite():
    x = Value(np.full((8, 4), 7.0))
    y = x.batch_normalise(ONES, ZEROS)
    y.backward(numbers(8, 4))
    np.testing.assert_array_equal(y.data, 0)
    assert np.isfinite(x.grad).all()


def test_one_example_has_nothing_to_be_compared_with():
    y = Value(numbers(1, 4)).batch_normalise(ONES, ZEROS + 2).forward()
    np.testing.assert_array_equal(y.data, 2)


@pytest.mark.parametrize("operation", ["batch_normalise", "layer_normalise"])
def test_gain_and_bias_have_one_number_for_each_unit(operation):
    x = Value(numbers(8, 4))
    for gain, bias in ((np.ones(3), ZEROS), (ONES, np.zeros((1, 4))), (np.ones(()), ZEROS)):
        with pytest.raises(ShapeError, match=rf"{operation}: cannot take float32\[8, 4\] and "):
            getattr(x, operation)(gain, bias)
    # An x of one unit is not widened to the gain's four.
    with pytest.raises(ShapeError, match=operation):
        getattr(Value(numbers(8, 1)), operation)(ONES, ZEROS)
