from dataclasses import replace

import jax
import numpy as np
import pytest

from fanin.corpus import Corpus, bundled_names
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.networks.network import as_values
from fanin.starts import SCHEMES, Rule, find_start
from fanin.starts.data_driven import TOLERANCE
from fanin.theory import find_nonlinearity, forward_gain

LSUV = SCHEMES["lsuv"]
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def contexts():
    return Corpus.of(bundled_names()).train.contexts


def second_moments(network, parameters, contexts):
    """What the linear layers of a network give on contexts, by name."""
    logits, run = network.run(as_values(parameters), np.asarray(contexts[:5000], np.int32))
    logits.forward()
    return {
        parameter.name: float(np.square(run.outputs[parameter.name[: -len(".weight")]].data).mean())
        for parameter in network.parameters
        if parameter.role in ("hidden", "residual")
    }


def test_the_second_moments_that_it_measured_are_one(contexts):
    few = contexts[:800]  # all of them are the batch then
    network = CharacterMLP(27, hidden=(60, 60, 60))
    found = second_moments(network, LSUV(network, KEY, few), few)
    assert list(found.values()) == pytest.approx([1, 1, 1], abs=TOLERANCE)


@pytest.mark.parametrize(
    "network",
    [
        CharacterMLP(27, hidden=(60, 60, 60), activation="relu"),
        CharacterMLP(27, hidden=(60,) * 4, activation="gelu", residual=True),
        CharacterMLP(27, hidden=(60,) * 2, normalisation="layer"),
        CharacterMLP(27, hidden=(60,) * 2, normalisation="batch"),
    ],
)
def test_every_layer_has_a_unit_second_moment_on_other_examples_too(network, contexts):
    parameters = LSUV(network, KEY, contexts)
    for moment in second_moments(network, parameters, contexts).values():
        assert moment == pytest.approx(1, abs=0.06)


def test_each_weight_is_an_orthogonal_one_times_a_factor(contexts):
    network = CharacterMLP(27, hidden=(60, 60))
    drawn, scaled = (find_start(n)(network, KEY, contexts) for n in ("orthogonal", "lsuv"))
    ratio = np.asarray(scaled["hidden.1.weight"]) / np.asarray(drawn["hidden.1.weight"])
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_the_gain_that_it_finds_is_near_that_of_theory(contexts):
    network = CharacterMLP(27, hidden=(60,) * 4)
    scaled = LSUV(network, KEY, contexts)
    gain = float(np.std(scaled["hidden.3.weight"])) * 60**0.5
    assert gain == pytest.approx(forward_gain(find_nonlinearity("tanh")), rel=0.1)


def test_biases_are_counted_in(contexts):
    network = CharacterMLP(27, hidden=(60, 60))
    parameters = find_start("lsuv:bias=0.5")(network, KEY, contexts)
    assert np.std(parameters["hidden.0.bias"]) == pytest.approx(0.5, rel=0.3)
    for moment in second_moments(network, parameters, contexts).values():
        assert moment == pytest.approx(1, abs=0.06)


def test_near_uniform_output_unless_told_otherwise(contexts):
    network = CharacterMLP(27, hidden=(60,))
    for name, gain in (("lsuv", 0.1), ("lsuv:output=1", 1)):
        output = find_start(name)(network, KEY, contexts)["output.weight"]
        assert np.std(output) == pytest.approx(gain / 60**0.5, rel=0.07)


def test_residual_branches_end_at_the_share_that_the_scheme_gives_them(contexts):
    network = CharacterMLP(27, hidden=(60,) * 5, residual=True, normalisation="layer")
    parameters = find_start("lsuv:residual=scaled")(network, KEY, contexts)
    first, *branches = second_moments(network, parameters, contexts).values()
    assert first == pytest.approx(1, abs=0.06)
    assert branches == pytest.approx([1 / 8] * 4, rel=0.06)


def test_one_key_gives_one_start_and_another_key_another(contexts):
    network = CharacterMLP(27, hidden=(60,))
    one, same, other = (LSUV(network, jax.random.key(seed), contexts) for seed in (1, 1, 2))
    assert (one["hidden.0.weight"] == same["hidden.0.weight"]).all()
    assert (one["hidden.0.weight"] != other["hidden.0.weight"]).any()


@pytest.mark.parametrize("missing", [None, np.zeros((0, 3), np.int32)])
def test_without_examples_the_error_says_what_to_give(missing):
    network = CharacterMLP(27, hidden=(60,))
    with pytest.raises(OptionError, match=r"lsuv measures .* found none; give it training context"):
        LSUV(network, KEY, missing)


def test_a_dead_layer_is_named(contexts):
    network = CharacterMLP(27, hidden=(60, 60), activation="relu")
    dead = replace(LSUV, hidden=Rule("constant", 0.0))
    with pytest.raises(OptionError, match=r"hidden\.0 gives a second moment of 0 on 1024 contexts"):
        dead(network, KEY, contexts)


def test_biases_that_no_weights_make_up_for(contexts):
    network = CharacterMLP(27, hidden=(60, 60))
    with pytest.raises(OptionError, match=r"second moment of hidden\.0 to 1; its biases alone"):
        find_start("lsuv:bias=3")(network, KEY, contexts)
