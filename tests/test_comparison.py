import itertools
from dataclasses import replace

import jax
import pytest

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.comparison import LIMIT, compare
from fanin.diagnosis.document import document_of
from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.seed_spreads import deviations, spreads
from fanin.networks import CharacterMLP
from fanin.starts import find_start

SEEDS = 6


@pytest.fixture(scope="module")
def examples():
    corpus = Corpus.of(bundled_names())
    return corpus.train.contexts[:1024], corpus.train.targets[:1024]


def documents(examples, start, seeds=SEEDS, **sizes):
    network = CharacterMLP(27, **sizes)
    for seed in range(seeds):
        parameters = find_start(start)(network, jax.random.key(seed), examples[0])
        yield document_of(diagnose(network, parameters, *examples))


@pytest.mark.parametrize(
    ("start", "sizes"),
    [
        ("normal", {"hidden": (200,)}),
        ("fanin", {"hidden": (64,) * 4, "activation": "relu"}),
        ("fanin", {"hidden": (32,) * 3, "activation": "gelu", "normalisation": "batch"}),
        ("torch-default", {"hidden": (32,) * 3, "normalisation": "layer", "residual": True}),
    ],
)
def test_seeds_lie_within_their_spread_and_the_spread_is_not_far_too_wide(examples, start, sizes):
    found = [spreads(document) for document in documents(examples, start, **sizes)]
    apart = {}
    for one, other in itertools.combinations(found, 2):
        assert one.keys() == other.keys()
        for key in one:
            apart.setdefault(key, []).append(deviations(one[key], other[key]))
    assert max(map(max, apart.values())) < LIMIT
    # Of what is continuous, the typical deviation of two seeds is of the order of one.
    for name in ("weight_std", "preactivation_std", "gradient_second_moment"):
        values = [each for key, some in apart.items() if key[1] == name for each in some]
        typical = (sum(value**2 for value in values) / len(values)) ** 0.5
        assert 0.2 < typical < 1.5, name


@pytest.fixture(scope="module")
def document(examples):
    return next(documents(examples, "fanin", 1, hidden=(16, 16)))


def changed(document, name, **fields):
    layers = tuple(
        replace(layer, **fields) if layer.name == name else layer for layer in document.layers
    )
    return replace(document, layers=layers)


def test_the_same_report_is_identical(document):
    same = compare(document, document)
    assert same.identical
    assert not same.moved
    assert not same.worse
    assert same.same == same.compared > 15


def test_a_number_that_moved_is_named_with_its_layer(document):
    old = document.layers[1].activation_std
    comparison = compare(document, changed(document, "hidden.0", activation_std=3 * old))
    (move,) = comparison.moves
    assert (move.layer, move.name) == ("hidden.0", "activation_std")
    assert (move.before, move.after) == (old, 3 * old)
    assert move.deviations > LIMIT
    assert comparison.same == comparison.compared - 1


def test_rounding_is_no_move_but_no_identity_either(document):
    old = document.layers[1].activation_std
    assert compare(document, changed(document, "hidden.0", activation_std=old * 1.00001)).identical
    slightly = compare(document, changed(document, "hidden.0", activation_std=old * 1.001))
    assert not slightly.moved
    assert not slightly.identical


def test_layers_that_came_went_and_changed_are_told(document):
    gone = replace(document, layers=document.layers[:-1])
    assert "output is gone" in compare(document, gone).structure
    assert "output is new" in compare(gone, document).structure
    relu = changed(document, "hidden.0", nonlinearity="relu", weight_shape=(3, 4))
    assert compare(document, relu).structure == (
        "hidden.0: weight_shape was 30 × 16 and is 3 × 4",
        "hidden.0: nonlinearity was tanh and is relu",
    )
    turned = replace(document, layers=document.layers[::-1])
    assert compare(document, turned).structure == ("the layers come in another order",)


def test_a_number_that_is_no_longer_there_is_told(document):
    lost = compare(document, changed(document, "hidden.1", gradient_second_moment=None))
    assert lost.structure == ("hidden.1 gradient_second_moment is not measured any more",)
    assert lost.moved


def test_checks_that_changed_their_verdict_are_told(document):
    checks = tuple(
        replace(check, verdict="bad") if check.name == "gain" else check
        for check in document.checks
        if check.name != "streams"
    )
    comparison = compare(document, replace(document, checks=checks))
    assert {(c.name, c.before, c.after) for c in comparison.checks} == {
        ("gain", "good", "bad"),
        ("streams", "good", None),
    }
    assert comparison.worse
    assert not compare(replace(document, checks=checks), document).worse
