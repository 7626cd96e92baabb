import math
from dataclasses import replace

import jax
import numpy as np
import pytest

from fanin.errors import OptionError
from fanin.networks import Bigram, CharacterMLP
from fanin.starts import SCHEMES, Rule, find_start
from fanin.theory import find_nonlinearity, forward_gain

# Different fans everywhere: 30 -> 300 -> 200 -> 27.
NETWORK = CharacterMLP(27, hidden=(300, 200), activation="tanh")
CONTEXTS = np.random.default_rng(0).integers(0, 27, (2000, 3))
TANH = 1.59254

# The standard deviation of a hidden weight, of the output's, and of a hidden bias.
DEVIATIONS = {
    "fanin": (lambda i, o: (1 if i == 30 else TANH) / i**0.5, lambda i, o: 0.1 / i**0.5, 0),
    "normal": (lambda i, o: 1, lambda i, o: 1, 1),
    "uniform-logits": (lambda i, o: 1, lambda i, o: 0.01, 1),
    "fan-in": (lambda i, o: i**-0.5, lambda i, o: i**-0.5, 0),
    "published": (lambda i, o: 5 / 3 / i**0.5, lambda i, o: 0.01, 0.01),
    "kaiming-normal": (lambda i, o: (2 / i) ** 0.5, lambda i, o: (2 / i) ** 0.5, 0),
    "kaiming-uniform": (lambda i, o: (2 / i) ** 0.5, lambda i, o: (2 / i) ** 0.5, 0),
    "glorot-normal": (lambda i, o: (2 / (i + o)) ** 0.5, lambda i, o: (2 / (i + o)) ** 0.5, 0),
    "glorot-uniform": (lambda i, o: (2 / (i + o)) ** 0.5, lambda i, o: (2 / (i + o)) ** 0.5, 0),
    "lecun-normal": (lambda i, o: i**-0.5, lambda i, o: i**-0.5, 0),
    "orthogonal": (lambda i, o: max(i, o) ** -0.5, lambda i, o: max(i, o) ** -0.5, 0),
    "torch-default": (lambda i, o: (3 * i) ** -0.5, lambda i, o: (3 * i) ** -0.5, 200**-0.5),
    "critical": (lambda i, o: i**-0.5, lambda i, o: 0.1 / i**0.5, 0),
    "zeros-output": (lambda i, o: (1 if i == 30 else TANH) / i**0.5, lambda i, o: 0, 0),
    "constant": (lambda i, o: 0, lambda i, o: 0, 0),
}


def test_every_start_has_a_name_a_line_and_a_source():
    for name, scheme in SCHEMES.items():
        assert scheme.name == name
        assert find_start(name) is scheme
        assert scheme.summary
        assert scheme.source
        assert "\n" not in scheme.summary + scheme.source


def test_the_starts_that_people_use():
    assert set(SCHEMES) == {*DEVIATIONS, "lsuv"}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_samples_have_the_standard_deviation_that_the_name_stands_for(name):
    hidden, output, _ = DEVIATIONS[name]
    parameters = SCHEMES[name](NETWORK, jax.random.key(1))
    assert np.std(parameters["embedding.weight"]) == pytest.approx(1, rel=0.15)
    for declared in NETWORK.parameters:
        if not declared.name.endswith("weight") or declared.role == "embedding":
            continue
        expected = (output if declared.role == "output" else hidden)(
            declared.fan_in, declared.fan_out
        )
        weight = np.asarray(parameters[declared.name], np.float64)
        # Four standard errors of a normal's standard deviation.
        tolerance = 4 / math.sqrt(2 * weight.size)
        assert weight.std() == pytest.approx(expected, rel=tolerance, abs=1e-9), declared.name


@pytest.mark.parametrize(("name", "scale"), [(n, d[2]) for n, d in DEVIATIONS.items()])
def test_biases(name, scale):
    parameters = SCHEMES[name](NETWORK, jax.random.key(1))
    if name == "torch-default":
        bias = np.asarray(parameters["hidden.1.bias"])
        bound = 300**-0.5
        assert np.abs(bias).max() == pytest.approx(bound, rel=0.05)
        assert bias.std() == pytest.approx(bound / 3**0.5, rel=0.15)
        assert 0 < np.abs(parameters["output.bias"]).max() <= 200**-0.5
        return
    assert np.std(parameters["hidden.1.bias"]) == pytest.approx(scale, rel=0.15)
    assert np.any(parameters["output.bias"]) == (name == "normal")


@pytest.mark.parametrize("name", DEVIATIONS)
def test_samples_have_the_distribution_that_the_rule_names(name):
    scheme = SCHEMES[name]
    weight = np.asarray(scheme(NETWORK, jax.random.key(2))["hidden.1.weight"], np.float64)
    distribution = scheme.hidden.distribution
    if distribution == "constant":
        assert (weight == np.float32(0.01)).all()
        return
    assert abs(weight.mean()) < 4 * weight.std() / math.sqrt(weight.size)
    kurtosis = ((weight / weight.std()) ** 4).mean()
    assert kurtosis == pytest.approx(9 / 5 if distribution == "uniform" else 3, rel=0.03)
    # A truncated normal would end here.
    beyond = (np.abs(weight) > 3 * weight.std()).mean()
    assert beyond == pytest.approx(0 if distribution == "uniform" else 0.0027, abs=0.0006)


def test_critical_has_the_gain_at_the_edge_of_chaos_and_the_biases_that_go_with_it():
    scheme = find_start("critical:bias_variance=0.05")
    parameters = scheme(NETWORK, jax.random.key(3))
    assert np.var(parameters["hidden.1.weight"]) * 300 == pytest.approx(1.7610, rel=0.01)
    assert np.var(parameters["hidden.1.bias"]) == pytest.approx(0.05, rel=0.3)
    relu = replace(NETWORK, activation="relu")
    assert np.var(SCHEMES["critical"](relu, jax.random.key(3))["hidden.1.weight"]) == (
        pytest.approx(2 / 300, rel=0.01)
    )


def test_where_nothing_is_critical_the_error_says_so():
    relu = replace(NETWORK, activation="relu")
    with pytest.raises(OptionError, match=r"relu has no weight variance with χ = 1 .* 0\.05; anot"):
        find_start("critical:bias_variance=0.05")(relu, jax.random.key(0))


def test_a_copy_of_a_scheme_with_other_rules_is_a_scheme():
    wide = replace(SCHEMES["fanin"], name="wide", output=Rule("uniform", 1.0, "fan_out"))
    output = np.asarray(wide(NETWORK, jax.random.key(0))["output.weight"])
    assert np.abs(output).max() == pytest.approx((3 / 27) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_start_fills_every_network(name):
    for network in (
        CharacterMLP(27, hidden=()),
        CharacterMLP(27, hidden=(60, 60, 60), activation="relu", residual=True),
        CharacterMLP(27, hidden=(60, 60), activation="selu", normalisation="batch"),
        CharacterMLP(27, hidden=(60, 60), normalisation="layer", residual=True),
        Bigram(27),
    ):
        parameters = SCHEMES[name](network, jax.random.key(0), CONTEXTS[:, : network.block])
        declared = {parameter.name: parameter.shape for parameter in network.parameters}
        assert {name: array.shape for name, array in parameters.items()} == declared
        assert all(array.dtype == np.float32 for array in parameters.values())
        assert all(np.isfinite(array).all() for array in parameters.values())


def test_residual_branches_are_scaled_where_the_scheme_says_so():
    network = CharacterMLP(27, hidden=(200,) * 5, residual=True, normalisation="layer")
    gain = forward_gain(find_nonlinearity("tanh"))
    for name, factor in (("fanin", 8**-0.5), ("fanin:residual=plain", 1)):
        weight = find_start(name)(network, jax.random.key(0))["hidden.2.weight"]
        assert np.std(weight) * 200**0.5 == pytest.approx(gain * factor, rel=0.02)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("kaiming_normal", "kaiming-normal"),
        ("Glorot-Uniform", "glorot-uniform"),
        ("xavier-normal", "glorot-normal"),
        ("he-uniform", "kaiming-uniform"),
        ("ortogonal", "orthogonal"),
        ("zero-output", "zeros-output"),
    ],
)
def test_the_nearest_name_is_suggested(asked, meant):
    with pytest.raises(OptionError, match=f"start '{asked}' is not known; did you mean {meant}"):
        find_start(asked)


def test_a_name_near_to_none_gets_the_list():
    with pytest.raises(OptionError, match=r"'qqq' is not known\. There are fanin, normal, .* lsuv"):
        find_start("qqq")
