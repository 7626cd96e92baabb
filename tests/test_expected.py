from dataclasses import replace

import jax
import numpy as np
import pytest

from fanin.networks import Bigram, CharacterMLP
from fanin.starts import SCHEMES, find_start
from fanin.starts.expected import expected_moments, expected_parts, second_moment
from fanin.theory import NoTheory, gradient_moments

NETWORK = CharacterMLP(27, hidden=(300, 200, 200))


@pytest.mark.parametrize("name", [*SCHEMES, "kaiming-uniform:mode=fan_out", "orthogonal:gain=2"])
def test_the_second_moment_of_what_is_drawn(name):
    scheme = find_start(name)
    drawn = replace(scheme, unit_preactivations=False)(NETWORK, jax.random.key(0))
    for parameter in NETWORK.parameters:
        found = float(np.square(np.asarray(drawn[parameter.name], np.float64)).mean())
        tolerance = 5 * (2 / drawn[parameter.name].size) ** 0.5
        assert found == pytest.approx(second_moment(scheme, parameter), rel=tolerance)


def test_layers_by_the_names_that_a_pass_gives_them():
    found = expected_moments(SCHEMES["fanin"], NETWORK)
    names = [f"hidden.{i}{suffix}" for i in range(3) for suffix in ("", ".activation")]
    assert list(found) == [*names, "output"]
    for i in range(3):
        assert found[f"hidden.{i}"].output.second_moment == pytest.approx(1)
        activation = found[f"hidden.{i}.activation"].output
        assert activation.second_moment == pytest.approx(1.59254**-2, rel=1e-5)
    assert found["output"].output.second_moment == pytest.approx(0.01 * 1.59254**-2, rel=1e-5)


def test_unequal_widths_change_the_gradient_by_their_ratio():
    found = list(expected_moments(SCHEMES["fanin"], NETWORK).values())
    # Back through the second layer: 200 units feed on 300.
    assert gradient_moments(found[1:3])[0] == pytest.approx(1.17781 * 200 / 300, rel=1e-5)


def test_a_start_that_scales_by_data_is_taken_at_its_word():
    found = expected_moments(find_start("lsuv:bias=0.3"), NETWORK)
    for i in range(3):
        assert found[f"hidden.{i}"].output.second_moment == pytest.approx(1)
    # The first weights make up 1 - 0.09 of it, from inputs of second moment 1.
    assert found["hidden.0"].chi == pytest.approx(0.91 * 300 / 30)
    assert found["output"].output.second_moment == pytest.approx(0.01 * 1.59254**-2, rel=1e-5)


def test_weights_that_are_all_the_same_have_no_theory():
    found = expected_moments(SCHEMES["constant"], NETWORK)
    assert isinstance(found["hidden.0"].output, NoTheory)
    assert "the weights are all the same" in str(found["output"].output)


def test_a_zero_output_has():
    assert expected_moments(SCHEMES["zeros-output"], NETWORK)["output"].output.second_moment == 0


def test_normalised_and_residual_networks():
    layer = replace(NETWORK, normalisation="layer")
    found = expected_moments(SCHEMES["normal"], layer)
    for i in range(3):
        normalised = found[f"hidden.{i}.normalisation"].output
        assert normalised.second_moment == pytest.approx(1, rel=1e-4)
    residual = CharacterMLP(27, hidden=(100,) * 9, residual=True, normalisation="layer")
    for name, added in (("fanin", 1 / 16), ("fanin:residual=plain", 1)):
        found = expected_moments(find_start(name), residual)
        sums = [found["hidden.0"], *(found[f"hidden.{i}.sum"] for i in range(1, 9))]
        moments = [each.output.second_moment for each in sums]
        assert np.diff(moments) == pytest.approx([added] * 8, rel=1e-3)


def test_a_table_of_logits_is_no_weighted_sum():
    assert list(expected_parts(SCHEMES["fanin"], Bigram(27))) == ["output"]
    assert isinstance(expected_moments(SCHEMES["fanin"], Bigram(27))["output"].output, NoTheory)
