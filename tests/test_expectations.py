"""Gaussian expectations against closed forms: the accuracy that the module claims."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from fanin.theory import (
    ACTIVATIONS,
    Nonlinearity,
    TheoryError,
    fixed_point,
    moments,
    share_beyond,
    share_outside,
)
from fanin.theory.expectations import decorrelation, derivative_product

RELU, TANH = ACTIVATIONS["relu"], ACTIVATIONS["tanh"]
ERF = Nonlinearity(
    "erf", special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-np.minimum(x * x, 700.0))
)
SINE = Nonlinearity("sine", np.sin, np.cos)
STEP = Nonlinearity("step", np.sign, np.zeros_like)

second_moments = st.floats(1e-3, 100.0)
correlations = st.floats(-0.999, 0.999)


def clip(bound):
    return Nonlinearity(
        "hard tanh",
        lambda x: np.clip(x, -bound, bound),
        lambda x: (np.abs(x) < bound).astype(np.float64),
    )


@given(q=second_moments)
def test_moments_of_sine_erf_and_relu(q):
    sine = moments(SINE, q)
    assert sine.second_moment == pytest.approx((1 - math.exp(-2 * q)) / 2, rel=1e-11)
    assert sine.derivative_second_moment == pytest.approx((1 + math.exp(-2 * q)) / 2, rel=1e-11)
    assert sine.growth == pytest.approx(math.exp(-2 * q), rel=1e-9, abs=1e-12)
    # Williams 1997, "Computing with Infinite Networks".
    erf = moments(ERF, q)
    assert erf.second_moment == pytest.approx(
        2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-11
    )
    assert erf.derivative_second_moment == pytest.approx(
        4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-11
    )
    relu = moments(RELU, q)
    assert relu.second_moment == pytest.approx(q / 2, rel=1e-13)
    assert relu.mean == pytest.approx(math.sqrt(q / (2 * math.pi)), rel=1e-13)
    assert relu.std == pytest.approx(math.sqrt(q / 2 - q / (2 * math.pi)), rel=1e-13)
    assert relu.growth == pytest.approx(0.5, rel=1e-12)


@settings(max_examples=25)
@given(q=second_moments, bound=st.floats(0.05, 5.0))
def test_kinks_anywhere_keep_their_digits(q, bound):
    # E[min(x², bound²)] in closed form, kinks at ± bound.
    cut = bound / math.sqrt(q)
    tail = special.ndtr(-cut)
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    second = q * (1 - 2 * tail - 2 * cut * density) + 2 * bound**2 * tail
    found = moments(clip(bound), q)
    assert found.second_moment == pytest.approx(second, rel=1e-11)
    assert found.derivative_second_moment == pytest.approx(1 - 2 * tail, rel=1e-11)
    assert found.mean == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=25)
@given(q=second_moments, c=correlations)
def test_pairs_of_relu_follow_the_arc_cosine_kernel(q, c):
    # Cho and Saul 2009, "Kernel Methods for Deep Learning", orders 1 and 0.
    angle = math.acos(c)
    product = q / (2 * math.pi) * (math.sin(angle) + (math.pi - angle) * c)
    assert decorrelation(RELU, q, 1 - c) == pytest.approx(q / 2 - product, rel=1e-9)
    expected = (math.pi - angle) / (2 * math.pi)
    assert derivative_product(RELU, q, 1 - c) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25)
@given(q=second_moments, c=correlations)
def test_pairs_of_erf_and_sine(q, c):
    scale = 2 * q / (1 + 2 * q)
    apart = 2 / math.pi * (math.asin(scale) - math.asin(scale * c))
    assert decorrelation(ERF, q, 1 - c) == pytest.approx(apart, rel=1e-9)
    slopes = 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
    assert derivative_product(ERF, q, 1 - c) == pytest.approx(slopes, rel=1e-9)
    product = (math.exp(-q * (1 - c)) - math.exp(-q * (1 + c))) / 2
    apart = (1 - math.exp(-2 * q)) / 2 - product
    assert decorrelation(SINE, q, 1 - c) == pytest.approx(apart, rel=1e-9)


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.5, 0.9999])
def test_pairs_of_a_step(c):
    expected = 1 - 2 / math.pi * math.asin(c)
    assert decorrelation(STEP, 1.3, 1 - c) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pairs_that_are_nearly_one_keep_their_digits(name):
    # ½ E[(f(u₁) − f(u₂))²] = γ q E[f'²] to first order, with √γ corrections at kinks.
    known = ACTIVATIONS[name]
    slopes = moments(known, 0.7).derivative_second_moment
    for gamma in (1e-10, 1e-13, 1e-16, 1e-20, 1e-100):
        tolerance = 3e-8 + math.sqrt(gamma)
        expected = pytest.approx(0.7 * gamma * slopes, rel=tolerance)
        assert decorrelation(known, 0.7, gamma) == expected
        assert derivative_product(known, 0.7, gamma) == pytest.approx(slopes, rel=tolerance)


def test_relu_close_to_one_has_its_next_term_too():
    # D = q/2 (γ − (2√2/3π) γ^1.5 + …), from the arc-cosine kernel.
    for gamma in (1e-6, 1e-8, 1e-10):
        expected = 0.5 * (gamma - 2 * math.sqrt(2) / (3 * math.pi) * gamma**1.5)
        assert decorrelation(RELU, 1.0, gamma) == pytest.approx(expected, rel=10 * gamma)


def test_equal_and_opposite_pairs():
    assert decorrelation(TANH, 1.0, 0.0) == 0.0
    # For an odd f the pair u, −u has E[f(u) f(−u)] = −E[f²].
    second = moments(TANH, 1.0).second_moment
    assert decorrelation(TANH, 1.0, 2.0) == pytest.approx(2 * second, rel=1e-11)
    assert decorrelation(TANH, 1.0, 1.0) == pytest.approx(second, rel=1e-11)


@pytest.mark.parametrize("gamma", [-1e-9, 2.1, math.nan])
def test_correlations_beyond_one_are_refused(gamma):
    with pytest.raises(TheoryError, match="A correlation lies between -1 and 1"):
        decorrelation(TANH, 1.0, gamma)
    with pytest.raises(TheoryError, match="A correlation lies between -1 and 1"):
        derivative_product(TANH, 1.0, gamma)


def test_saturated_share_of_tanh_at_five_thirds():
    settled = fixed_point(TANH, (5 / 3) ** 2)
    assert moments(TANH, settled.q).std == pytest.approx(0.6513, abs=5e-5)
    assert share_beyond(TANH, 0.97, settled.q) == pytest.approx(0.054, abs=5e-4)


@settings(max_examples=25)
@given(q=second_moments, threshold=st.floats(0.01, 0.999))
def test_shares_beyond_a_threshold(q, threshold):
    expected = 2 * special.ndtr(-math.atanh(threshold) / math.sqrt(q))
    assert share_beyond(TANH, threshold, q) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_shares_of_one_side_and_of_zero():
    assert share_outside(RELU, 0.0, 0.0, 3.0) == pytest.approx(0.5, abs=1e-12)
    sigmoid = ACTIVATIONS["sigmoid"]
    expected = special.ndtr(-math.log(0.97 / 0.03) / 2.0)
    assert share_outside(sigmoid, -1.0, 0.97, 4.0) == pytest.approx(expected, rel=1e-10)
    assert share_beyond(RELU, 1e9, 1.0) == 0.0


def test_the_limit_at_zero():
    assert moments(RELU, 0.0).derivative_second_moment == pytest.approx(0.5, rel=1e-12)
    assert moments(TANH, 0.0).growth == pytest.approx(1.0, rel=1e-12)
    sigmoid = moments(ACTIVATIONS["sigmoid"], 0.0)
    assert sigmoid.second_moment == pytest.approx(0.25, rel=1e-12)
    # (f²)''/2 at 0 = f'² + f f'' = 1/16.
    assert sigmoid.growth == pytest.approx(1 / 16, rel=1e-4)


def test_growth_is_the_derivative_of_the_second_moment():
    for known in ACTIVATIONS.values():
        above, below = (moments(known, q).second_moment for q in (1.3001, 1.2999))
        assert moments(known, 1.3).growth == pytest.approx((above - below) / 2e-4, rel=1e-7)


@pytest.mark.parametrize("q", [-1.0, math.nan, math.inf])
def test_second_moments_are_finite_and_not_negative(q):
    with pytest.raises(TheoryError, match="A second moment is a finite number from 0 up"):
        moments(TANH, q)


def test_exponential_growth_has_moments_and_gaussian_growth_has_none():
    exponential = Nonlinearity("exponential", np.exp, np.exp)
    assert moments(exponential, 1.0).second_moment == pytest.approx(math.exp(2.0), rel=1e-11)
    explosive = Nonlinearity(
        "explosive", lambda x: np.exp(x * x / 2), lambda x: x * np.exp(x * x / 2)
    )
    with pytest.raises(TheoryError, match="explosive: the activation has no finite second moment"):
        moments(explosive, 1.0)
    pole = Nonlinearity("pole", lambda x: 1 / x, lambda x: -1 / x**2)
    with pytest.raises(TheoryError, match="no finite second moment"):
        moments(pole, 1.0)


def test_an_integrable_pole_is_no_obstacle():
    logarithm = Nonlinearity("log", lambda x: np.log(np.abs(x) + 1e-300), np.ones_like)
    # E[log|z|] = −(γ + log 2)/2 with Euler's γ.
    expected = -(np.euler_gamma + math.log(2)) / 2
    assert moments(logarithm, 1.0).mean == pytest.approx(expected, rel=1e-9)


def test_what_oscillates_too_fast_is_refused():
    wild = Nonlinearity("wild", lambda x: np.sin(1e6 * x), lambda x: 1e6 * np.cos(1e6 * x))
    with pytest.raises(TheoryError, match="wild: 20,000 panels do not resolve it"):
        moments(wild, 1.0)
