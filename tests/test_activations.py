import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from fanin import theory
from fanin.autograd import Value, evaluate
from fanin.errors import OptionError
from fanin.networks import ACTIVATIONS, CharacterMLP, find_activation
from fanin.networks.activations import activation_name, apply_activation, nonlinearity_of
from fanin.starts import find_start

POINTS = np.linspace(-4, 4, 41, dtype=np.float32)
POINTS = POINTS[POINTS != 0]  # where relu and selu have no derivative


def mish(x):
    """One that the package does not know."""
    return x * jnp.tanh(jnp.logaddexp(x, 0))


def test_networks_and_theory_know_the_same_names():
    assert set(ACTIVATIONS) == set(theory.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_networks_is_that_of_theory_with_its_derivative(name):
    x = Value(POINTS)
    y = apply_activation(name, x)
    evaluation = evaluate(y.sum())
    expected = theory.find_nonlinearity(name)
    points = POINTS.astype(np.float64)
    np.testing.assert_allclose(evaluation.data[y], expected.values(points), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        evaluation.gradient[x], expected.slopes(points), rtol=1e-5, atol=2e-6
    )
    by_function = find_activation(name)(jnp.asarray(POINTS))
    np.testing.assert_allclose(by_function, evaluation.data[y], rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (jnp.tanh, None),
        ("jax.numpy:tanh", "jax.numpy:tanh"),
        ("jax:numpy.tanh", "jax:numpy.tanh"),
        (lambda x: jnp.tanh(x), None),
    ],
)
def test_a_callable_and_its_address_do_what_the_name_does(activation, name):
    x = Value(POINTS)
    given, known = apply_activation(activation, x), x.tanh()
    assert given.name == (name or activation_name(activation))
    by_callable, by_name = evaluate(given.sum()), evaluate(known.sum())
    np.testing.assert_allclose(by_callable.data[given], by_name.data[known], rtol=1e-6)
    np.testing.assert_allclose(by_callable.gradient[x], by_name.gradient[x], rtol=1e-4, atol=1e-6)


def test_the_name_of_a_callable_says_where_it_is():
    assert activation_name("tanh") == "tanh"
    assert activation_name(mish) == f"{__name__}:mish"


@pytest.mark.parametrize("activation", [jnp.tanh, "jax.numpy:tanh"])
def test_theory_gives_a_callable_the_gains_of_the_known_activation(activation):
    found = theory.exact_gains(nonlinearity_of(activation))
    known = theory.exact_gains(theory.find_nonlinearity("tanh"))
    assert found.forward_gain == pytest.approx(1.59254, abs=5e-6)
    for figure in ("forward_gain", "backward_gain", "slope", "chi"):
        assert getattr(found, figure) == pytest.approx(getattr(known, figure), rel=1e-9)


def test_theory_has_the_gain_of_an_activation_that_is_in_no_table():
    def integrand(z):
        y = z * math.tanh(math.log1p(math.exp(z)))
        return y * y * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    second_moment = integrate.quad(integrand, -12, 12, epsabs=1e-13)[0]
    gain = theory.forward_gain(nonlinearity_of(mish))
    assert gain == pytest.approx(1 / math.sqrt(second_moment), rel=1e-8)


def test_a_network_with_a_callable_starts_with_its_exact_gain_inside_jit_too():
    network = CharacterMLP(5, block=2, embedding=3, hidden=(100, 100), activation=mish)

    @jax.jit
    def start(key):  # the first to ask for this activation's gains must not leave a tracer behind
        nonlinearity_of.cache_clear()
        return find_start("fanin")(network, key)

    compiled = start(jax.random.key(0))
    eager = find_start("fanin")(network, jax.random.key(0))
    for name, array in eager.items():
        np.testing.assert_allclose(compiled[name], array, rtol=1e-5, atol=1e-6)
    gain = theory.forward_gain(nonlinearity_of(mish))
    assert np.std(eager["hidden.1.weight"]) == pytest.approx(gain / 10, rel=0.03)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("Relu", r"'Relu' is not known; did you mean relu\? Choose one of identity, tanh, relu"),
        ("swoosh9", r"'swoosh9' is not known\. Choose one of .*, or give module:callable"),
        ("jax.numpy:", "is not known"),
        ("no.such.module:f", "'no.such.module:f' cannot be imported: ModuleNotFoundError"),
        ("jax.numpy:tahn", "'jax.numpy:tahn' cannot be imported: .* did you mean jax.numpy:tan"),
        (".jax:tanh", "'.jax:tanh' cannot be imported: TypeError"),
        ("math:pi", "'math:pi' is float, no callable"),
    ],
)
def test_activations_that_cannot_be(activation, message):
    with pytest.raises(OptionError, match=message):
        find_activation(activation)


def test_an_activation_that_changes_the_shape_is_named():
    with pytest.raises(ValueError, match="gave the shape"):
        apply_activation(jnp.sum, Value(POINTS))


def nothing(x):
    return None


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("math:sin", "'math:sin' cannot be traced by JAX"),
        (nothing, "nothing' makes None of float32"),
        (jnp.sum, "it should give the same shape"),
    ],
)
def test_a_network_takes_functions_by_element(activation, message):
    with pytest.raises(OptionError, match=message):
        CharacterMLP(27, activation=activation)
