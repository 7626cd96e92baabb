import math

import numpy as np

from fanin.diagnosis.checks.blame import blame

DEPTH = [f"hidden.{place}" for place in range(20)]


def shares(values):
    return dict(zip(DEPTH, values, strict=False))


def test_a_layer_that_did_most_is_named_alone():
    assert blame(shares([0.3, 3.2, 0.5, -0.1])) == ["hidden.1"]
    assert blame(shares([3.2, 0.2, 2.5, 0.3])) == ["hidden.0", "hidden.2"]


def test_layers_that_are_alike_are_named_alike():
    # gelu at a gain of 1 takes a fourth of the gradient's second moment at each layer: a factor of
    # two in standard deviation, on either side of which chance puts half of them.
    alike = math.log(4.0) + 0.05 * np.random.default_rng(0).standard_normal(20)
    assert blame(shares(alike.tolist())) == DEPTH


def test_a_fault_of_depth_names_more_than_its_largest_part():
    # One layer of five times the others' share, which is a fifth of it all.
    assert blame(shares([1.0] + [0.2] * 19)) == DEPTH
    assert blame(shares([0.4, 0.3, 0.02, 0.35])) == ["hidden.0", "hidden.1", "hidden.3"]


def test_what_goes_the_other_way_is_never_named():
    assert blame(shares([1.0, -2.0, 0.9])) == ["hidden.0", "hidden.2"]
    assert blame(shares([-0.5, -1.0])) == ["hidden.0", "hidden.1"]  # nothing else to name
