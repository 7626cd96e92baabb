"""The learning-rate finder pairs each rate with the loss that it caused."""

import jax
import numpy as np
import pytest

from fanin.corpus import Corpus, bundled_names
from fanin.corpus.words import Words
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training import TrainingOptions, find_learning_rate, loss_and_gradient
from fanin.training.loop import batch_key
from fanin.training.lr_finder import judge_sweep, learning_rate_sweep
from fanin.training.step import draw_examples


@pytest.fixture(scope="module")
def corpus():
    return Corpus.of(Words.of(bundled_names().words[:600]), block=2)


@pytest.fixture(scope="module")
def network(corpus):
    return CharacterMLP(len(corpus.vocabulary), block=2, embedding=2, hidden=(8,))


def test_losses_are_those_after_the_step_with_their_rate(corpus, network):
    parameters = find_start("fanin")(network, jax.random.key(0))
    options = TrainingOptions(batch=8, seed=3)
    search = find_learning_rate(network, parameters, corpus, options, highest=1.0, steps=10)
    probe = np.random.default_rng(3).permutation(len(corpus.train))[:1024]
    trained = dict(parameters)
    for step, rate in enumerate(search.rates):
        chosen = np.asarray(draw_examples(batch_key(3), step, 8, len(corpus.train)))
        batch = corpus.train.contexts[chosen], corpus.train.targets[chosen]
        _, gradient, _ = loss_and_gradient(network, trained, *batch)
        trained = {name: trained[name] - rate * gradient[name] for name in trained}
        after, _, _ = loss_and_gradient(
            network, trained, corpus.train.contexts[probe], corpus.train.targets[probe]
        )
        assert search.losses[step] == pytest.approx(float(after), abs=2e-6)


def test_parameters_stay_as_they_were(corpus, network):
    parameters = find_start("fanin")(network, jax.random.key(0))
    before = {name: np.array(array) for name, array in parameters.items()}
    search = find_learning_rate(network, parameters, corpus, TrainingOptions(batch=8), steps=50)
    assert all(np.array_equal(before[name], parameters[name]) for name in before)
    again = find_learning_rate(network, parameters, corpus, TrainingOptions(batch=8), steps=50)
    assert np.array_equal(search.losses, again.losses)


def test_a_sweep_that_one_watches_finds_the_same(corpus, network):
    parameters = find_start("fanin")(network, jax.random.key(0))
    options = TrainingOptions(batch=8)
    whole = find_learning_rate(network, parameters, corpus, options, steps=50)
    parts = list(learning_rate_sweep(network, parameters, corpus, options, steps=50, chunk=20))
    assert [len(part.rates) for part in parts] == [20, 40, 50]
    np.testing.assert_allclose(parts[-1].losses, whole.losses, rtol=1e-5)
    np.testing.assert_array_equal(parts[0].losses, parts[-1].losses[:20])
    assert parts[-1].first_loss == pytest.approx(whole.first_loss)
    assert parts[-1].suggestion == whole.suggestion


def falling_then_ruined(rates):
    """Falls until a rate of 0.3, then rises without bound."""
    losses = 3.3 - 0.8 * np.clip(np.log10(rates / 1e-3) / 2.5, 0, 1)
    return np.where(rates > 0.3, losses + 20 * np.log10(np.maximum(rates, 0.3) / 0.3), losses)


def test_the_suggestion_lies_below_the_best_rate_and_near_it():
    rates = np.geomspace(1e-4, 10, 1000)
    search = judge_sweep(rates, falling_then_ruined(rates), 3.3)
    # The running mean looks 20 steps ahead, a factor of 1.26 in the rate.
    assert 0.3 / 1.27 < search.best_rate < 0.3 * 1.27
    assert 0.1 < search.suggestion < search.best_rate
    assert search.rates[-1] < 10
    assert not search.at_edge


def test_early_spikes_do_not_fool_it():
    rates = np.geomspace(1e-4, 10, 1000)
    losses = falling_then_ruined(rates)
    calm = judge_sweep(rates, losses, 3.3)
    spiked = losses.copy()
    spiked[[20, 21, 100, 250]] = [30.0, 12.0, 9.0, 0.5]  # the last one a lucky dip
    assert judge_sweep(rates, spiked, 3.3).suggestion == calm.suggestion


def test_a_best_rate_at_the_edge_is_said():
    rates = np.geomspace(1e-4, 1e-2, 100)
    assert judge_sweep(rates, np.linspace(3.3, 3.0, 100), 3.3).at_edge


def test_what_is_not_finite_ends_the_sweep():
    rates = np.geomspace(1e-4, 10, 100)
    losses = np.linspace(3.3, 3.0, 100)
    losses[60:] = np.nan
    search = judge_sweep(rates, losses, 3.3)
    assert len(search.losses) == 60
    with pytest.raises(OptionError, match="very first step"):
        judge_sweep(rates, np.full(100, np.nan), 3.3)


@pytest.mark.parametrize(
    "settings", [{"lowest": 0.0}, {"lowest": 1.0, "highest": 0.5}, {"steps": 3}]
)
def test_sweeps_that_are_none(corpus, network, settings):
    parameters = find_start("fanin")(network, jax.random.key(0))
    with pytest.raises(OptionError):
        find_learning_rate(network, parameters, corpus, **settings)
