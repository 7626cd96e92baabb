import unicodedata
from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import pytest

from fanin.corpus import Words, split_words
from fanin.errors import FaninError, OptionError
from fanin.sampling import TILE, new_words, sample
from fanin.trainer import fit
from fanin.training import TrainingOptions

NAMES = [a + b + c for a in ("Jo", "ma", "zo", "re") for b in ("sé", "ri", "la", "n") for c in "ae"]


@pytest.fixture(scope="module")
def model():
    options = TrainingOptions(steps=300, batch=16, eval_every=300)
    return fit(Words.of(NAMES), options=options, hidden=(12,), block=2)


def with_parameters(model, **changes):
    changes = {name.replace("_", "."): np.asarray(array, "f4") for name, array in changes.items()}
    return replace(model, parameters={**model.parameters, **changes})


def words(samples):
    return [made.word for made in samples]


def test_a_word_hangs_on_the_seed_and_its_number_alone(model):
    many = sample(model, TILE + 5, seed=7)
    assert len(many) == TILE + 5
    assert sample(model, 3, seed=7) == many[:3]
    assert words(many[:TILE]) != words(sample(model, TILE, seed=8))
    # The second tile is not the first once more.
    assert words(many[TILE:]) != words(many[:5])


def test_rows_of_ids_read_as_each_would_by_itself(model):
    ids = np.array([[3, 1, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]], np.int32)
    assert model.vocabulary.decode_rows(ids) == [model.vocabulary.decode(row) for row in ids]


def test_words_follow_the_probabilities_of_the_model(model):
    """First letters, and second letters after J, as often as the softmax of the logits says."""
    count = 20_000
    temperature = 0.7
    made = words(sample(model, count, temperature=temperature))
    symbols = ("", *model.vocabulary.symbols)

    def expected(*context):
        logits = np.array(model.network.logits_of(model.parameters, np.array([context])))[0]
        if context == (0, 0):
            logits[0] = -np.inf  # no word is empty
        weights = np.exp((logits - logits.max()) / temperature)
        return dict(zip(symbols, weights / weights.sum(), strict=True))

    letter = "J"
    for found, probabilities in (
        ([word[:1] for word in made], expected(0, 0)),
        (
            [word[1:2] for word in made if word[0] == letter],
            expected(0, symbols.index(letter)),
        ),
    ):
        frequencies = Counter(found)
        for symbol, probability in probabilities.items():
            spread = np.sqrt(probability * (1 - probability) / len(found))
            assert abs(frequencies[symbol] / len(found) - probability) < 5 * spread + 1e-9


def test_temperature_zero_takes_the_likeliest_symbol(model):
    word, context = "", [0, 0]
    while True:
        logits = np.array(model.network.logits_of(model.parameters, np.array([context[-2:]])))[0]
        logits[0] = -np.inf if not word else logits[0]
        if (best := int(logits.argmax())) == 0:
            break
        word += model.vocabulary.symbols[best - 1]
        context.append(best)
    assert set(words(sample(model, 5, temperature=0.0))) == {word}
    assert set(words(sample(model, 5, temperature=1e-30))) == {word}
    assert set(words(sample(model, 5, temperature=1e-320))) == {word}
    assert len(set(words(sample(model, 50, temperature=1e30)))) > 40


def test_what_is_known_and_what_is_new(model):
    splits = split_words(model.words.words, model.split_seed)
    known = {}
    for made in sample(model, 3000):
        known[made.word] = made.known
    assert {"train", "held out", "new"} == set(known.values())
    for word, kind in known.items():
        assert (kind == "train") == (word in splits.train)
        assert (kind == "held out") == (word in splits.dev + splits.test)


def test_words_begin_with_the_prefix(model):
    made = sample(model, 200, prefix="mar")
    assert all(word.startswith("mar") for word in words(made))
    assert len(set(words(made))) > 5
    # The prefix is part of the word: alone, too, and where it is longer than the block.
    assert {"mara": "train", "mari": "new"}.keys() <= set(words(sample(model, 2000, prefix="mar")))
    decomposed = unicodedata.normalize("NFD", "José")
    assert all(word.startswith("José") for word in words(sample(model, 20, prefix=decomposed)))


def test_a_prefix_that_the_model_cannot_know(model):
    with pytest.raises(OptionError, match=r"prefix 'M4x' holds '4', 'M', 'x'.* it knows .*Jae"):
        sample(model, 1, prefix="M4x")
    with pytest.raises(OptionError, match="try 'mari'"):
        sample(model, 1, prefix="MARI")
    with pytest.raises(OptionError, match=r"holds '\\x1b'"):
        sample(model, 1, prefix="\x1b[2J")


def test_no_word_is_empty_and_endless_ones_are_cut(model):
    bias = np.array(model.parameters["output.bias"])
    eager, endless = bias.copy(), bias.copy()
    eager[0], endless[0] = 50, -50
    ended = sample(with_parameters(model, output_bias=eager), 100)
    assert all(len(made.word) == 1 and made.complete for made in ended)
    cut = sample(with_parameters(model, output_bias=endless), 10, temperature=0.5)
    assert not any(made.complete for made in cut)
    assert all(len(made.word) == 100 for made in cut)


def test_white_space_around_a_word_is_no_part_of_it():
    words_with_spaces = Words.of([f"{name} {name}" for name in NAMES])
    model = fit(words_with_spaces, options=TrainingOptions(steps=0), hidden=(4,))
    made = words(sample(model, 300))
    assert all(word == word.strip() for word in made)
    assert any(" " in word for word in made)


def test_numbers_that_are_not_finite_give_no_words(model):
    weight = np.full(model.parameters["output.weight"].shape, 3e38)
    hidden = np.full(model.parameters["hidden.0.bias"].shape, 1e3)
    broken = replace(
        model,
        parameters={**model.parameters, "output.weight": weight, "hidden.0.bias": hidden},
    )
    with pytest.raises(FaninError, match="not finite"):
        sample(broken, 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"count": 0}, "number of words"),
        ({"count": -1}, "number of words"),
        ({"count": 10**12}, "number of words"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
    ],
)
def test_options_that_cannot_be(model, options, complaint):
    with pytest.raises(OptionError, match=complaint):
        sample(model, **{"count": 1, **options})


def test_new_words_are_new_different_and_complete(model):
    made = new_words(model, 10)
    assert len(set(made)) == len(made) == 10
    assert not set(made) & set(model.words.words)
    assert new_words(model, 10) == made != new_words(model, 10, seed=1)


def test_a_network_with_batch_normalisation_samples_by_its_statistics():
    options = TrainingOptions(steps=20, batch=8)
    model = fit(Words.of(NAMES), options=options, normalisation="batch", hidden=(6,))
    logits = model.network.logits_of(model.parameters, np.zeros((1, 3), int), model.statistics)
    first = int(np.array(logits)[0, 1:].argmax()) + 1
    greedy = sample(model, 1, temperature=0.0)[0].word
    assert greedy[0] == model.vocabulary.symbols[first - 1]
    assert jax.tree.all(jax.tree.map(np.isfinite, logits.tolist()))
