"""Where second moments settle, and the edge of chaos."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.theory import (
    ACTIVATIONS,
    CriticalPair,
    FixedPoint,
    Nonlinearity,
    NoTheory,
    TheoryError,
    critical,
    fixed_point,
    forward_gain,
    moments,
    second_moment_map,
)

TANH, RELU, GELU = ACTIVATIONS["tanh"], ACTIVATIONS["relu"], ACTIVATIONS["gelu"]


def test_tanh_activations_shrink_at_gain_one():
    q, found = 1.0, []
    for _ in range(4):
        found.append(moments(TANH, q).std)
        q = second_moment_map(TANH, q, 1.0)
    assert found == pytest.approx([0.628, 0.486, 0.408, 0.358], abs=5e-4)
    assert fixed_point(TANH, 1.0).q == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_forward_gain_holds_the_unit_second_moment(name):
    settled = fixed_point(ACTIVATIONS[name], forward_gain(ACTIVATIONS[name]) ** 2)
    assert settled.q == 1.0


@settings(max_examples=25)
@given(weight_variance=st.floats(0.1, 10.0), bias_variance=st.floats(0.0, 2.0))
def test_the_recursion_ends_at_the_fixed_point(weight_variance, bias_variance):
    settled = fixed_point(TANH, weight_variance, bias_variance)
    q = 1.0
    for _ in range(400):
        q = second_moment_map(TANH, q, weight_variance, bias_variance)
    # At the critical pair it creeps there, like 1/depth.
    slow = 1.1 / 400 if abs(weight_variance - 1) < 0.02 and bias_variance < 0.01 else 1e-9
    assert settled.q == pytest.approx(q, rel=1e-9, abs=slow)
    assert settled.stability != "unstable"


def test_relu_with_bias_settles_where_a_geometric_series_does():
    settled = fixed_point(RELU, 1.5, 0.05)
    assert settled.q == pytest.approx(0.05 / (1 - 0.75), rel=1e-12)
    assert settled.slope == pytest.approx(0.75)
    assert settled.chi == pytest.approx(0.75)


def test_relu_at_variance_two_keeps_any_second_moment():
    for start in (0.01, 1.0, 30.0):
        settled = fixed_point(RELU, 2.0, start=start)
        assert settled.q == start
        assert settled.stability == "neutral"


def test_second_moments_that_grow_have_no_fixed_point():
    for found in (fixed_point(RELU, 2.1), fixed_point(RELU, 2.0, 0.01)):
        assert isinstance(found, NoTheory)
        assert str(found).startswith("no theory: the second moment grows without bound")
    exponential = Nonlinearity("exponential", np.exp, np.exp)
    found = fixed_point(exponential, 1.0)
    assert isinstance(found, NoTheory)
    assert "the second moment grows beyond" in found.reason


def test_gelu_leaves_its_fixed_point_on_either_side():
    gain = forward_gain(GELU)
    assert fixed_point(GELU, gain**2).stability == "unstable"
    assert fixed_point(GELU, gain**2, start=0.99).q == 0.0
    assert isinstance(fixed_point(GELU, gain**2, start=1.01), NoTheory)


def test_tiny_bias_variances_are_fixed_points_of_tiny_size():
    settled = fixed_point(TANH, 0.5, 1e-12)
    assert settled.q == pytest.approx(2e-12, rel=1e-6, abs=0.0)


def test_a_start_far_out_comes_back_or_does_not():
    assert fixed_point(TANH, 1.5, 0.1, start=1e12).q == pytest.approx(fixed_point(TANH, 1.5, 0.1).q)
    assert fixed_point(RELU, 1.0, start=1e12).q == 0.0
    assert isinstance(fixed_point(RELU, 3.0, start=1e-12), NoTheory)


def test_no_weights_leave_the_bias_variance():
    settled = fixed_point(TANH, 0.0, 0.3)
    assert settled.q == pytest.approx(0.3, rel=1e-12)
    assert (settled.slope, settled.chi) == (0.0, 0.0)


@pytest.mark.parametrize("start", [0.0, -1.0, math.nan, math.inf])
def test_a_recursion_starts_above_zero(start):
    with pytest.raises(TheoryError, match="starts from a second moment above 0"):
        fixed_point(TANH, 1.0, start=start)


def test_negative_variances_are_refused():
    with pytest.raises(TheoryError, match="A bias variance is a finite number"):
        fixed_point(TANH, 1.0, -0.1)
    with pytest.raises(TheoryError, match="A bias variance is a finite number"):
        critical(TANH, -0.1)


def test_the_critical_pairs_of_tanh():
    assert critical(TANH, 0.05).weight_variance == pytest.approx(1.7610, abs=5e-5)
    at_zero = critical(TANH)
    assert at_zero.weight_variance == pytest.approx(1.0, rel=1e-9)
    assert at_zero.q == 0.0
    assert at_zero.stability == "stable"


def test_relu_is_critical_at_variance_two_without_bias_and_nowhere_else():
    pair = critical(RELU)
    assert pair.weight_variance == pytest.approx(2.0, rel=1e-12)
    assert pair.bias_variance == 0.0
    assert pair.stability == "neutral"
    none = critical(RELU, 0.05)
    assert isinstance(none, NoTheory)
    assert "relu has no weight variance with χ = 1" in none.reason


def test_gelu_is_critical_but_unstable_at_small_bias_variances():
    # The recursion leaves q = 0 at σ_w² = 4 upwards: 4 E[gelu²] = q + 6 q²/π + …
    assert critical(GELU).weight_variance == pytest.approx(4.0, rel=1e-9)
    assert critical(GELU).stability == "unstable"
    assert critical(GELU, 0.05).stability == "unstable"
    assert critical(GELU, 0.5).stability == "stable"


@settings(max_examples=25)
@given(name=st.sampled_from(["tanh", "selu", "sigmoid", "gelu"]), bias=st.floats(1e-4, 1.0))
def test_a_critical_pair_is_a_fixed_point_with_chi_one(name, bias):
    known = ACTIVATIONS[name]
    pair = critical(known, bias)
    assert isinstance(pair, CriticalPair)
    assert second_moment_map(known, pair.q, pair.weight_variance, bias) == pytest.approx(
        pair.q, rel=1e-9
    )
    settled = fixed_point(known, pair.weight_variance, bias, start=pair.q)
    assert isinstance(settled, FixedPoint)
    assert settled.chi == pytest.approx(1.0, rel=1e-9)
    assert settled.slope == pytest.approx(pair.slope, rel=1e-6)


def test_an_activation_without_slope_has_no_critical_pair():
    sign = Nonlinearity("sign", np.sign, np.zeros_like)
    assert isinstance(critical(sign, 0.05), NoTheory)
    assert isinstance(critical(sign), NoTheory)
