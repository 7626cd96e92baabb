"""Numbers at their extremes: right losses and no warning (warnings are errors here)."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from fanin.corpus import Words
from fanin.diagnosis.of_run import diagnose_run
from fanin.sampling import sample
from fanin.trainer import prepare
from fanin.training import TrainingOptions, mean_loss

NAMES = [a + b for a in "abcdefghjk" for b in ("ann", "lo", "rie", "sé")]
SMALL = {"hidden": (4,), "embedding": 2, "block": 2}


@pytest.fixture(scope="module")
def run():
    return prepare(Words.of(NAMES), options=TrainingOptions(steps=5, batch=4), **SMALL)


@pytest.fixture(scope="module")
def model(run):
    return run.train()


def with_logits(model, logits):
    """The model with the same logits for every context."""
    logits = jnp.asarray(logits, jnp.float32)
    weights = jnp.zeros_like(model.parameters["output.weight"])
    changed = {"output.weight": weights, "output.bias": logits}
    return replace(model, parameters={**model.parameters, **changed})


def test_logits_of_ten_thousand_give_losses_and_words(run, model):
    vocabulary = len(model.vocabulary)
    logits = np.full(vocabulary, -1e4)
    logits[1] = 1e4
    sure = with_logits(model, logits)
    targets = run.corpus.train.targets
    expected = 2e4 * np.mean(targets != 1)
    found = mean_loss(sure.network, sure.parameters, run.corpus.train)
    assert found == pytest.approx(expected, rel=1e-5)
    (word,) = {made.word for made in sample(sure, 20)}
    assert set(word) == {model.vocabulary.symbols[0]}
    trained = prepare(Words.of(NAMES), start=sure, options=run.options).train()
    assert np.isfinite(trained.history.batch_losses).all()


def test_logits_that_are_all_equal_give_the_loss_of_a_blind_guess(run, model):
    for level in (0.0, 1e4, -1e4):
        spacing = max(1e-6, float(np.spacing(np.float32(abs(level)))))
        level_model = with_logits(model, np.full(len(model.vocabulary), level))
        loss = mean_loss(level_model.network, level_model.parameters, run.corpus.train)
        assert loss == pytest.approx(math.log(len(model.vocabulary)), abs=spacing)
        assert len({made.word for made in sample(level_model, 50)}) > 40


@pytest.mark.parametrize("logits", [1e4, 0.0])
def test_a_diagnosis_of_extreme_logits_is_a_report(model, logits):
    values = np.zeros(len(model.vocabulary))
    values[0] = logits
    run = prepare(Words.of(NAMES), start=with_logits(model, values))
    report = diagnose_run(run, examples=64)
    assert math.isfinite(report.loss)
    assert report.verdict == ("bad" if logits else report.verdict)


def test_processes_give_the_same_bits(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    command = [sys.executable, "-m", "fanin", "train", "words.txt", "--steps", "200", "--quiet"]
    for name, seed in (("one", "1"), ("two", "2")):
        subprocess.run(
            [*command, "--hidden", "4", "--out", name],
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
