import math

import pytest

from fanin.errors import OptionError
from fanin.networks.activations import nonlinearity_of
from fanin.theory import NoTheory, find_nonlinearity
from fanin.theory.summary import summarise


def recursions(summary):
    return {recursion.name: recursion for recursion in summary.recursions}


def test_tanh_at_its_gains_over_twenty_layers():
    summary = summarise(find_nonlinearity("tanh"), depth=21)
    found = recursions(summary)
    forward = found["forward"]
    assert forward.gain == pytest.approx(1.59254, abs=1e-5)
    assert forward.second_moments == pytest.approx([1] * 21)
    # Twenty layers at the forward gain.
    assert forward.gradients[0] == pytest.approx(1.17781**20, rel=1e-3)
    assert forward.gradients[-1] == 1
    # Without biases, at the critical gain of 1, activations shrink as in the published table.
    assert found["critical"].gain == pytest.approx(1)
    second_moments = found["critical"].second_moments[1:5]
    assert [math.sqrt(q) for q in second_moments] == pytest.approx(
        [0.628, 0.486, 0.408, 0.358], abs=5e-4
    )


def test_correlations_begin_at_a_half_and_go_where_the_scales_say():
    summary = summarise(find_nonlinearity("relu"), depth=50)
    forward = recursions(summary)["forward"]
    assert forward.correlations[0] == 0.5
    # Cho and Saul 2009: the arc-cosine kernel's map.
    c = 0.5
    for correlation in forward.correlations[1:6]:
        c = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
        assert correlation == pytest.approx(c, abs=1e-9)
    assert forward.correlations[-1] > 0.97
    assert forward.scales.xi_c == math.inf


def test_the_critical_recursion_has_the_biases_that_were_asked_for():
    found = recursions(summarise(find_nonlinearity("tanh"), depth=25, bias_variance=0.05))
    critical = found["critical"]
    assert critical.gain**2 == pytest.approx(1.7610, abs=1e-4)
    assert critical.bias_variance == 0.05
    assert found["forward"].bias_variance == 0
    assert critical.second_moments[-1] == pytest.approx(critical.settled.q, rel=1e-6)
    # At the edge of chaos the gradient neither grows nor dies, once q has settled.
    assert critical.gradients[-10] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "stable"), [("tanh", True), ("gelu", False), ("silu", False)])
def test_disturbed_second_moments_come_back_only_where_the_fixed_point_is_stable(name, stable):
    summary = summarise(find_nonlinearity(name))
    assert summary.gains.stable == stable
    low, high = recursions(summary)["forward"].disturbed
    assert (low[0], high[0]) == (0.8, 1.25)
    assert (abs(low[-1] - 1) < 0.01, abs(high[-1] - 1) < 0.01) == (stable, stable)
    assert stable or low[-1] < 0.1 < 3 < high[-1]


def test_a_recursion_that_grows_without_bound_ends_early():
    summary = summarise(find_nonlinearity("gelu"), depth=50)
    critical = recursions(summary)["critical"]
    assert 30 < len(critical.second_moments) < 50
    assert critical.second_moments[-1] >= 1e10
    assert isinstance(critical.settled, NoTheory)
    assert len(critical.gradients) == len(critical.correlations) == len(critical.second_moments)


def test_without_a_critical_pair_there_is_no_such_recursion():
    summary = summarise(find_nonlinearity("relu"), bias_variance=0.05)
    assert isinstance(summary.critical, NoTheory)
    assert set(recursions(summary)) == {"forward", "backward"}


def test_a_step_has_no_backward_gain_and_one_recursion():
    import jax.numpy as jnp

    summary = summarise(nonlinearity_of(lambda x: jnp.where(x > 0, 1.0, -1.0)), depth=3)
    assert summary.gains.forward_gain == pytest.approx(1)
    assert isinstance(summary.gains.backward_gain, NoTheory)
    assert set(recursions(summary)) == {"forward"}


def test_one_layer_is_the_first():
    (forward, *_) = summarise(find_nonlinearity("tanh"), depth=1).recursions
    assert (forward.second_moments, forward.correlations, forward.gradients) == ((1,), (0.5,), (1,))


@pytest.mark.parametrize("depth", [0, 201])
def test_depths_that_cannot_be(depth):
    with pytest.raises(OptionError, match=f"depth must be from 1 to 200; found {depth}"):
        summarise(find_nonlinearity("tanh"), depth=depth)
