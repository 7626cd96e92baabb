"""Gains by quadrature, held against the published and computed figures."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.theory import (
    ACTIVATIONS,
    Nonlinearity,
    NoTheory,
    TheoryError,
    backward_gain,
    chi,
    exact_gains,
    fixed_point,
    forward_gain,
    slope,
)


def _mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def _mish_slope(x):
    softplus = np.log1p(np.exp(x))
    return np.tanh(softplus) + x / np.cosh(softplus) ** 2 / (1 + np.exp(-x))


MISH = Nonlinearity("mish", _mish, _mish_slope)

# Forward gain, backward gain, slope at q = 1, χ at the forward gain.
TABLE = {
    "identity": (1.0, 1.0, 1.0, 1.0),
    "tanh": (1.59254, 1.46741, 0.461, 1.1778),
    "relu": (math.sqrt(2), math.sqrt(2), 1.0, 1.0),
    "selu": (1.0, 0.96603, 0.783, 1.0716),
    "gelu": (1.53353, 1.48111, 1.144, 1.0720),
    "silu": (1.67653, 1.62332, 1.173, 1.0666),
    "sigmoid": (1.84623, 4.72265, 0.106, 0.1528),
}


def test_theory_needs_no_framework():
    script = (
        "import sys; from fanin.theory import *; exact_gains(ACTIVATIONS['tanh']); "
        "print(*{'jax', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, ""), found.stderr


@pytest.mark.parametrize("name", TABLE)
def test_gains_have_the_digits_of_the_table(name):
    found = exact_gains(ACTIVATIONS[name])
    forward, backward, at_one, factor = TABLE[name]
    assert found.forward_gain == pytest.approx(forward, abs=5.1e-6)
    assert found.backward_gain == pytest.approx(backward, abs=5.1e-6)
    assert found.slope == pytest.approx(at_one, abs=5.1e-4)
    assert found.chi == pytest.approx(factor, abs=5.1e-5)


@pytest.mark.parametrize("name", ["identity", "relu"])
def test_piecewise_linear_activations_are_exact(name):
    forward, backward, at_one, factor = TABLE[name]
    found = exact_gains(ACTIVATIONS[name])
    assert found.forward_gain == pytest.approx(forward, rel=1e-14)
    assert found.backward_gain == pytest.approx(backward, rel=1e-14)
    assert found.slope == pytest.approx(at_one, rel=1e-14)
    assert found.chi == pytest.approx(factor, rel=1e-14)


def test_selu_was_made_to_have_forward_gain_one_and_mean_zero():
    assert forward_gain(ACTIVATIONS["selu"]) == pytest.approx(1.0, abs=1e-14)


def test_stability_of_the_unit_second_moment():
    verdicts = {name: exact_gains(ACTIVATIONS[name]).stability for name in TABLE}
    assert verdicts == {
        "identity": "neutral",
        "tanh": "stable",
        "relu": "neutral",
        "selu": "stable",
        "gelu": "unstable",
        "silu": "unstable",
        "sigmoid": "stable",
    }
    assert exact_gains(ACTIVATIONS["relu"]).stable
    assert not exact_gains(ACTIVATIONS["gelu"]).stable


def test_mish_which_the_package_does_not_know():
    assert "mish" not in ACTIVATIONS
    found = exact_gains(MISH)
    # The trapezoidal rule, which converges at once for what is smooth and decays.
    z = np.linspace(-12, 12, 4001)
    weights = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    second = weights @ _mish(z) ** 2
    assert found.forward_gain == pytest.approx(second**-0.5, rel=1e-12)
    assert found.backward_gain == pytest.approx((weights @ _mish_slope(z) ** 2) ** -0.5, rel=1e-12)
    assert found.slope == pytest.approx(weights @ (z * _mish(z) * _mish_slope(z)) / second)
    assert not found.stable


def test_the_customary_five_thirds_of_tanh():
    # Second moment 1.1785 in a deep network, its gradient's × 1.2098 a layer backwards.
    settled = fixed_point(ACTIVATIONS["tanh"], (5 / 3) ** 2)
    assert settled.q == pytest.approx(1.1785, abs=5e-5)
    assert settled.chi == pytest.approx(1.2098, abs=5e-5)
    assert settled.stability == "stable"


def test_twenty_tanh_layers_multiply_the_gradient_by_about_24():
    factor = exact_gains(ACTIVATIONS["tanh"]).chi
    # 19 weight matrices stand between twenty layers, 20 with the one after them.
    assert factor**19 == pytest.approx(22.41, abs=0.01)
    assert factor**20 == pytest.approx(26.39, abs=0.01)


def test_tanh_at_gain_one_is_critical():
    assert chi(ACTIVATIONS["tanh"], 1.0, q=1e-9) == pytest.approx(1.0, abs=1e-8)
    assert slope(ACTIVATIONS["tanh"], 1.0, q=0.0) == pytest.approx(1.0, abs=1e-12)


def test_unequal_widths_change_the_gradient_by_their_ratio():
    relu = ACTIVATIONS["relu"]
    assert chi(relu, 2.0, fan_in=100, fan_out=300) == pytest.approx(3.0)
    assert chi(relu, 2.0, fan_in=300, fan_out=100) == pytest.approx(1 / 3)


@given(factor=st.floats(1e-6, 1e6), negate=st.booleans())
def test_gains_are_inverse_to_the_size_of_the_activation(factor, negate):
    tanh = ACTIVATIONS["tanh"]
    factor = -factor if negate else factor
    scaled = Nonlinearity(
        "scaled", lambda x: factor * tanh.function(x), lambda x: factor * tanh.derivative(x)
    )
    found, plain = exact_gains(scaled), exact_gains(tanh)
    assert found.forward_gain == pytest.approx(plain.forward_gain / abs(factor), rel=1e-9)
    assert found.backward_gain == pytest.approx(plain.backward_gain / abs(factor), rel=1e-9)
    # What does not depend on the size.
    assert found.slope == pytest.approx(plain.slope, rel=1e-9)
    assert found.chi == pytest.approx(plain.chi, rel=1e-9)


@given(leak=st.floats(-1.0, 1.0))
def test_leaky_relu_has_the_gain_of_he_et_al(leak):
    leaky = Nonlinearity(
        "leaky relu", lambda x: np.where(x > 0, x, leak * x), lambda x: np.where(x > 0, 1.0, leak)
    )
    expected = math.sqrt(2 / (1 + leak**2))
    assert forward_gain(leaky) == pytest.approx(expected, rel=1e-13)
    assert backward_gain(leaky) == pytest.approx(expected, rel=1e-13)


def test_an_activation_of_zero_has_no_gain():
    zero = Nonlinearity("zero", np.zeros_like, np.zeros_like)
    with pytest.raises(TheoryError, match="zero: the activation is zero wherever"):
        forward_gain(zero)
    with pytest.raises(TheoryError, match="zero: the activation is zero wherever"):
        exact_gains(zero)


def test_an_activation_without_slope_has_no_backward_gain():
    sign = Nonlinearity("sign", np.sign, np.zeros_like)
    found = exact_gains(sign)
    assert found.forward_gain == pytest.approx(1.0)
    assert isinstance(found.backward_gain, NoTheory)
    assert "derivative is zero" in str(found.backward_gain)
    with pytest.raises(TheoryError, match="sign: its derivative is zero"):
        backward_gain(sign)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_weight_variances_are_finite_and_not_negative(value):
    with pytest.raises(TheoryError, match="A weight variance is a finite number from 0 up"):
        slope(ACTIVATIONS["tanh"], value)
