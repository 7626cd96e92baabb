import math
import subprocess
import sys

import jax
import numpy as np
import pytest

import fanin.trainer
from fanin.corpus import Corpus, Words
from fanin.errors import ModelFileError, OptionError, WordsError
from fanin.model_file import save_model
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.trainer import fit, prepare
from fanin.training import TrainingOptions, mean_loss, train

WORDS = Words.of([a + b for a in "abcdefgh" for b in ("ann", "lo", "rie")])
OPTIONS = TrainingOptions(steps=12, batch=4, eval_every=5, seed=2)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def model():
    return fit(WORDS, options=OPTIONS, hidden=(4,))


def test_fit_is_start_and_train_and_measure(model):
    """The same from the parts, which is what `fit` saves writing."""
    corpus = Corpus.of(WORDS)
    network = CharacterMLP(len(corpus.vocabulary), hidden=(4,))
    start = find_start("fanin")(network, jax.random.key(OPTIONS.seed))
    records = list(train(network, start, corpus, OPTIONS))
    assert model.network == network
    assert same(model.parameters, records[-1].state.parameters)
    losses = np.concatenate([record.batch_losses for record in records])
    assert np.array_equal(model.history.batch_losses, losses)
    assert model.history.dev_steps == (0, 5, 10, 12)
    assert model.losses["initial"] == records[0].dev_loss
    for name in ("train", "dev", "test"):
        assert model.losses[name] == mean_loss(network, model.parameters, getattr(corpus, name))
    assert model.start == "fanin"


def test_the_losses_of_more_steps_than_there_is_room_for_at_first(model, monkeypatch):
    monkeypatch.setattr(fanin.trainer, "ROOM", 2)
    again = fit(WORDS, options=OPTIONS, hidden=(4,))
    assert np.array_equal(again.history.batch_losses, model.history.batch_losses)


def test_progress_is_every_record():
    steps = []
    fit(WORDS, options=OPTIONS, hidden=(4,), on_progress=lambda record: steps.append(record.step))
    assert steps[0] == 0
    assert steps[-1] == 12
    assert steps == sorted(set(steps))


def test_an_interrupt_keeps_what_was_trained(model):
    def interrupt(record):
        if record.step == 5:
            raise KeyboardInterrupt

    stopped = fit(WORDS, options=OPTIONS, hidden=(4,), on_progress=interrupt)
    assert stopped.steps == 5
    assert stopped.options == OPTIONS
    assert np.array_equal(stopped.history.batch_losses, model.history.batch_losses[:5])
    assert stopped.history.dev_steps == (0, 5)
    assert stopped.losses["dev"] == pytest.approx(stopped.history.dev_losses[-1])
    assert not same(stopped.parameters, model.parameters)


def test_an_interrupt_before_the_first_step_is_one():
    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(WORDS, options=OPTIONS, hidden=(4,), on_progress=interrupt)


def test_training_on_from_a_model_and_from_its_file(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(model, path)
    for start, name in ((model, "a model (fanin)"), (path, str(path)), (str(path), str(path))):
        run = prepare(start=start, options=OPTIONS)
        assert same(run.state.parameters, model.parameters)
        assert run.corpus.words == model.words
        assert run.network == model.network
        assert run.start == name
    further = run.train()
    assert further.losses["initial"] == pytest.approx(model.losses["dev"])
    assert not same(further.parameters, model.parameters)


def test_training_on_keeps_split_and_vocabulary(model):
    other = fit(WORDS, options=OPTIONS, hidden=(4,), split_seed=9)
    words = Words.of(["bann", "dlo", "erie", *(2 * letter for letter in "abcdefgh")])
    run = prepare(words, start=other, options=OPTIONS)
    assert run.corpus.split_seed == 9
    assert run.corpus.vocabulary == model.vocabulary
    assert prepare(words, start=other, options=OPTIONS, split_seed=0).corpus.split_seed == 0
    with pytest.raises(WordsError, match=r"holds 'x', 'y', which the model .* has never seen"):
        prepare(Words.of([*words.words, "xy"]), start=other)


def test_sizes_that_are_not_the_models(model):
    with pytest.raises(OptionError, match=r"hidden is 5,6, and the model .* has 4; leave"):
        prepare(WORDS, start=model, hidden=(5, 6))
    with pytest.raises(OptionError, match="activation is relu"):
        prepare(WORDS, start=model, activation="relu")
    prepare(WORDS, start=model, hidden=(4,), activation="tanh")


def test_starts_that_are_none(tmp_path):
    with pytest.raises(OptionError, match="did you mean normal"):
        prepare(WORDS, start="nrmal")
    with pytest.raises(ModelFileError, match="no such file"):
        prepare(WORDS, start="missing.safetensors")
    with pytest.raises(ModelFileError, match="is a directory"):
        prepare(WORDS, start=tmp_path)


@pytest.mark.parametrize(
    ("sizes", "options", "complaint"),
    [
        ({"hidden": (10**10,)}, {}, "most of it for the parameters"),
        ({"embedding": 10**12}, {}, "most of it for the parameters"),
        ({"hidden": (10**5,)}, {"batch": 10**7}, "most of it for activations"),
    ],
)
def test_a_run_that_no_memory_holds_is_refused_at_once(sizes, options, complaint):
    with pytest.raises(OptionError, match=complaint):
        prepare(WORDS, options=TrainingOptions(**options), **sizes)


def test_impossible_split_seed():
    with pytest.raises(OptionError, match="split_seed"):
        prepare(WORDS, split_seed=-1)


def test_no_steps_give_the_start_itself():
    model = fit(WORDS, options=TrainingOptions(steps=0), hidden=(4,), start="uniform-logits")
    assert model.steps == 0
    assert model.losses["initial"] == model.losses["dev"]
    assert math.isclose(model.losses["initial"], model.uniform_loss, abs_tol=0.05)


def test_a_setting_that_is_not_known_gets_the_nearest():
    with pytest.raises(OptionError, match=r"'hiden' is not known; did you mean hidden\?"):
        fit(hiden=(3,))


WRONG_TYPES = """
from dataclasses import replace
from fanin import CharacterMLP, FaninError, find_start, fit
scheme = find_start("fanin")
for wrong in (
    lambda: fit(["emma"]),
    lambda: CharacterMLP(27, hidden=200),
    lambda: replace(scheme, hidden=0.1),
    lambda: replace(scheme.hidden, distribution="norml"),
    lambda: replace(scheme.hidden, mode="fan"),
    lambda: replace(scheme.hidden, gain="x"),
):
    try:
        wrong()
    except FaninError as error:
        print(error)
"""


def test_what_is_of_another_type_is_told():
    # In a process of its own, since here every call has its types checked.
    done = subprocess.run(
        [sys.executable, "-c", WRONG_TYPES], capture_output=True, text=True, check=True
    )
    for message, expected in zip(
        done.stdout.splitlines(),
        (
            "words are given as list; Words.of(list)",
            "hidden is a tuple of sizes, (200,) for one layer; found 200",
            "the start fanin: hidden is a Rule",
            "distribution 'norml' is not known; did you mean normal?",
            "mode 'fan' is not known",
            "gain is a number from 0 up, forward or critical; found 'x'",
        ),
        strict=True,
    ):
        assert expected in message
