"""A run that was stopped ends with the bits of one that was not."""

from dataclasses import replace

import numpy as np
import pytest

from fanin.corpus import Words
from fanin.errors import ModelFileError, OptionError
from fanin.model_file import load_model, save_model
from fanin.resumption import resume, what_raising_does
from fanin.trainer import prepare
from fanin.training import TrainingOptions

WORDS = Words.of(["anna", "bob", "cara", "dora", "emil", "fritz", "gina", "hanna", "ida", "jan"])
SIZES = {"embedding": 2, "block": 2, "hidden": (8,)}


def whole(options, **sizes):
    return prepare(WORDS, options=options, **SIZES, **sizes).train()


def stopped_and_resumed(options, path, every, **sizes):
    """Trains until the first save, forgets everything but the file, and goes on."""

    class Stop(Exception):
        pass

    def save(model):
        save_model(model, path)
        raise Stop

    with pytest.raises(Stop):
        prepare(WORDS, options=options, **SIZES, **sizes).train(save=save, save_every=every)
    assert load_model(path).steps == every
    return resume(path).train()


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"optimiser": "sgd"}, {}),
        ({"optimiser": "sgd", "momentum": 0.9, "warm_up": 20}, {"normalisation": "batch"}),
        ({"optimiser": "adam", "schedule": "cosine"}, {}),
        ({"optimiser": "adamw", "weight_decay": 0.1}, {"normalisation": "layer"}),
    ],
)
def test_resumed_is_unbroken_bit_for_bit(tmp_path, settings, sizes):
    options = TrainingOptions(steps=90, batch=4, eval_every=40, **settings)
    expected = whole(options, **sizes)
    found = stopped_and_resumed(options, tmp_path / "run.safetensors", 37, **sizes)
    for group in ("parameters", "statistics", "optimiser"):
        wanted, got = getattr(expected, group), getattr(found, group)
        assert wanted.keys() == got.keys()
        assert all(np.array_equal(wanted[name], got[name]) for name in wanted), group
    assert np.array_equal(expected.history.batch_losses, found.history.batch_losses)
    assert expected.history.dev_steps == found.history.dev_steps == (0, 40, 80, 90)
    assert expected.history.dev_losses == found.history.dev_losses
    assert expected.losses == found.losses


def test_saving_changes_nothing():
    options = TrainingOptions(steps=60, batch=4, optimiser="adam")
    saved = []
    run = prepare(WORDS, options=options, **SIZES)
    model = run.train(save=saved.append, save_every=25)
    assert [kept.steps for kept in saved] == [25, 50]
    assert saved[0].losses["test"] is None
    plain = whole(options)
    assert np.array_equal(plain.parameters["output.weight"], model.parameters["output.weight"])
    assert np.array_equal(plain.history.batch_losses, model.history.batch_losses)


def test_a_constant_rate_may_be_given_more_steps_as_if_from_the_first(tmp_path):
    options = TrainingOptions(steps=40, batch=4, schedule="constant", eval_every=20)
    save_model(whole(options), tmp_path / "run.safetensors")
    longer = resume(tmp_path / "run.safetensors", steps=70).train()
    unbroken = whole(replace(options, steps=70))
    assert np.array_equal(
        unbroken.parameters["hidden.0.weight"], longer.parameters["hidden.0.weight"]
    )


def test_what_more_steps_do_to_a_schedule():
    half = TrainingOptions(steps=100)
    assert "at step 100 instead of 50" in what_raising_does(half, 200)
    cosine = TrainingOptions(steps=100, schedule="cosine")
    assert "zero at step 200 instead of 100" in what_raising_does(cosine, 200)
    assert what_raising_does(half, 100) == ""
    assert what_raising_does(TrainingOptions(steps=100, schedule="constant"), 200) == ""


def test_steps_may_only_be_raised():
    model = whole(TrainingOptions(steps=10, batch=4))
    with pytest.raises(OptionError, match="only be raised"):
        resume(model, steps=5)
    with pytest.raises(OptionError, match="all 10 steps"):
        resume(model)


def test_an_optimisers_state_that_does_not_fit_is_refused():
    model = whole(TrainingOptions(steps=10, batch=4, optimiser="adam"))
    with pytest.raises(ModelFileError, match="optimiser's state"):
        resume(replace(model, optimiser={}), steps=20)


def test_impossible_save_every():
    with pytest.raises(OptionError, match="save_every"):
        prepare(WORDS, options=TrainingOptions(steps=1), **SIZES).train(save_every=0)
