"""Two examples over depth: correlation maps, phases and depth scales."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.theory import (
    ACTIVATIONS,
    Nonlinearity,
    NoTheory,
    chi,
    correlation_map,
    critical,
    decorrelation_map,
    depth_scales,
    fixed_point,
    second_moment_map,
)

TANH, RELU = ACTIVATIONS["tanh"], ACTIVATIONS["relu"]


def test_relu_pairs_follow_the_arc_cosine_map():
    for c in (-0.5, 0.0, 0.3, 0.9):
        angle = math.acos(c)
        expected = (math.sin(angle) + (math.pi - angle) * c) / math.pi
        assert correlation_map(RELU, c, 3.7, 2.0) == pytest.approx(expected, rel=1e-11)


def test_equal_examples_stay_equal():
    for name in ACTIVATIONS:
        assert correlation_map(ACTIVATIONS[name], 1.0, 1.3, 1.1, 0.2) == 1.0


def test_bias_is_common_to_both_examples():
    # Two uncorrelated examples under an odd activation share the bias and nothing else.
    q = second_moment_map(TANH, 1.0, 1.5, 0.3)
    assert correlation_map(TANH, 0.0, 1.0, 1.5, 0.3) == pytest.approx(0.3 / q, rel=1e-11)


def test_a_vanishing_signal_keeps_its_correlation_and_no_signal_has_none():
    assert correlation_map(TANH, 0.5, 0.0, 1.0) == pytest.approx(0.5, rel=1e-12)
    assert decorrelation_map(TANH, 0.5, 1.0, 0.0) == 0.0


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(ACTIVATIONS)), q=st.floats(0.1, 5.0), bias=st.floats(0.0, 1.0))
def test_the_map_has_slope_chi_at_one(name, q, bias):
    known = ACTIVATIONS[name]
    following = second_moment_map(known, q, 1.4, bias)
    gamma = 1e-9
    slope = decorrelation_map(known, gamma, q, 1.4, bias) / gamma
    # Kinks add a term of order √γ.
    assert slope == pytest.approx(chi(known, 1.4, q) * q / following, rel=2e-4)


def test_the_ordered_phase_makes_examples_one():
    scales = depth_scales(TANH, 1.5, 0.05)
    settled = fixed_point(TANH, 1.5, 0.05)
    assert scales.phase == "ordered"
    assert scales.c_star == 1.0
    assert scales.xi_q == pytest.approx(-1 / math.log(settled.slope))
    assert scales.xi_c == pytest.approx(-1 / math.log(settled.chi))


def test_the_chaotic_phase_parts_them():
    scales = depth_scales(TANH, 3.0, 0.05)
    assert scales.phase == "chaotic"
    assert scales.c_star == pytest.approx(0.2993, abs=5e-5)
    again = correlation_map(TANH, scales.c_star, scales.q_star, 3.0, 0.05)
    assert again == pytest.approx(scales.c_star, rel=1e-9)
    # Without bias an odd activation makes any two examples orthogonal.
    assert depth_scales(TANH, 3.0).c_star == 0.0


@pytest.mark.parametrize(("weight_variance", "bias_variance"), [(1.5, 0.05), (3.0, 0.05)])
def test_the_recursion_approaches_its_end_over_the_depth_scales(weight_variance, bias_variance):
    scales = depth_scales(TANH, weight_variance, bias_variance)
    q, gamma = scales.q_star * 1.001, 1 - scales.c_star + 1e-3
    following_q = second_moment_map(TANH, q, weight_variance, bias_variance)
    ratio = (following_q - scales.q_star) / (q - scales.q_star)
    assert ratio == pytest.approx(math.exp(-1 / scales.xi_q), rel=1e-3)
    following = decorrelation_map(TANH, gamma, scales.q_star, weight_variance, bias_variance)
    ratio = (following - (1 - scales.c_star)) / 1e-3
    assert ratio == pytest.approx(math.exp(-1 / scales.xi_c), rel=1e-3)


def test_at_the_edge_of_chaos_correlations_never_settle():
    pair = critical(TANH, 0.05)
    scales = depth_scales(TANH, pair.weight_variance, 0.05)
    assert scales.phase == "critical"
    assert scales.xi_c == math.inf
    assert scales.xi_q == pytest.approx(-1 / math.log(pair.slope))
    # On either side ξ_c is long and finite.
    for factor in (0.99, 1.01):
        near = depth_scales(TANH, pair.weight_variance * factor, 0.05)
        assert 100 < near.xi_c < 1000


def test_relu_at_variance_two_has_no_depth_scale():
    scales = depth_scales(RELU, 2.0)
    assert (scales.xi_q, scales.xi_c, scales.c_star) == (math.inf, math.inf, 1.0)
    below = depth_scales(RELU, 1.5, 0.05)
    assert below.xi_q == pytest.approx(-1 / math.log(0.75))
    assert below.xi_c == pytest.approx(-1 / math.log(0.75))


def test_where_second_moments_do_not_settle_there_are_no_scales():
    decayed = depth_scales(TANH, 0.9)
    assert isinstance(decayed, NoTheory)
    assert "decays to 0" in decayed.reason
    assert isinstance(depth_scales(RELU, 2.5), NoTheory)
    unstable = depth_scales(ACTIVATIONS["gelu"], 1.5335304411955353**2)
    assert isinstance(unstable, NoTheory)
    assert "unstable (slope 1.144)" in unstable.reason


def test_a_constant_layer_settles_at_once():
    # A sign has no slope: E[f²] = 1 whatever q is.
    flat = Nonlinearity("one", np.ones_like, np.zeros_like)
    scales = depth_scales(flat, 1.0)
    assert scales.xi_q == pytest.approx(0.0, abs=0.05)
    assert scales.c_star == 1.0
