import errno
import math
import os
import pickle
import stat
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from fanin import tensor_file
from fanin.corpus import Words
from fanin.errors import ModelFileError
from fanin.model_file import load_model, save_model
from fanin.trainer import fit
from fanin.training import TrainingOptions

WORDS = Words.of(
    [a + b for a in "abcdefgé" for b in ("ann", "o'neil", "zoë", "mary ann")] + ["ann"]
)


def trained(**sizes):
    options = TrainingOptions(steps=20, batch=4, eval_every=7)
    return fit(WORDS, options=options, split_seed=3, **{"hidden": (4,), "embedding": 2, **sizes})


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    """The bytes of the model's file."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(model, path)
    return path.read_bytes()


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def load_bytes(folder, data, **options):
    path = folder / "model.safetensors"
    path.write_bytes(data)
    return load_model(path, **options)


def test_a_model_comes_back_as_it_was(model, content, tmp_path):
    back = load_bytes(tmp_path, content)
    assert same(back.parameters, model.parameters)
    assert np.array_equal(back.history.batch_losses, model.history.batch_losses)
    for name in ("network", "vocabulary", "words", "split_seed", "start", "options", "losses"):
        assert getattr(back, name) == getattr(model, name)
    assert back.history.dev_steps == (0, 7, 14, 20)
    assert back.history.dev_losses == model.history.dev_losses
    assert back.steps == 20
    assert back.uniform_loss == math.log(len(model.vocabulary))


def test_the_same_model_gives_the_same_bytes(content, tmp_path):
    save_model(load_bytes(tmp_path, content), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


def test_optimiser_and_statistics_come_back(tmp_path):
    options = TrainingOptions(steps=3, batch=4, optimiser="adam")
    model = fit(WORDS, options=options, normalisation="batch", hidden=(4,))
    save_model(model, tmp_path / "m")
    back = load_model(tmp_path / "m")
    assert model.statistics
    assert same(back.statistics, model.statistics)
    assert model.optimiser
    assert same(back.optimiser, model.optimiser)


def test_a_loss_that_was_not_measured_stays_so(model, tmp_path):
    losses = {**model.losses, "test": None}
    history = replace(model.history, dev_losses=(math.nan, *model.history.dev_losses[1:]))
    save_model(replace(model, losses=losses, history=history), tmp_path / "m")
    back = load_model(tmp_path / "m")
    assert back.losses == losses
    assert math.isnan(back.history.dev_losses[0])


# Writing.


def test_a_failed_write_leaves_the_old_file_and_nothing_else(model, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old one")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"model\.safetensors: cannot be written: no space"):
        save_model(model, path)
    assert path.read_bytes() == b"the old one"
    assert files(tmp_path) == ["model.safetensors"]


def test_an_existing_file_keeps_its_mode_and_a_link_stays_a_link(model, content, tmp_path):
    path, link = tmp_path / "model", tmp_path / "link"
    path.write_bytes(b"")
    path.chmod(0o640)
    link.symlink_to(path)
    save_model(model, link)
    assert link.is_symlink()
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_places_that_cannot_be_written(model, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for name, complaint in (
        ("missing/model", "its folder does not exist"),
        ("file/model", "its folder does not exist"),
        (".", "is a folder"),
        ("pipe", "is not a plain file"),
        ("n" * 300, "name too long"),
    ):
        with pytest.raises(ModelFileError, match=complaint):
            save_model(model, tmp_path / name)
    assert files(tmp_path) == ["file", "pipe"]


def test_parameters_that_are_not_finite_are_not_written(model, tmp_path):
    spoilt = {**model.parameters, "output.bias": np.full(len(model.vocabulary), np.nan, "f4")}
    with pytest.raises(ModelFileError, match=r"not written: 'output.bias' .* not finite"):
        save_model(replace(model, parameters=spoilt), tmp_path / "m")
    assert files(tmp_path) == []


# Reading what is damaged or lies: always a ModelFileError, which names the file.


@given(st.data())
def test_a_file_cut_short_or_with_a_flipped_bit_is_refused(content, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = content[:place]
    else:
        bit = 1 << data.draw(st.integers(0, 7))
        damaged = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        load_bytes(folder, damaged)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a model file"),
        (b"emma\nolivia\nava\n", "not a model file"),
        (pickle.dumps({"weights": [1.0]}), "not a model file"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "not a model file"),
        (save({"x": np.zeros(3)}), "not one that fanin wrote"),
        (save({"x": np.zeros(3)}, {"format": "pt"}), "not one that fanin wrote"),
        (save({"x": np.zeros(3, "f4")}, {"fanin": "["}), "its description is damaged"),
        (save({"x": np.zeros(3, "f4")}, {"fanin": "[" * 10**5}), "its description is damaged"),
        (save({"x": np.zeros(3, "f4")}, {"fanin": '{"sha256":"","content":{}}'}), "checksum"),
        (save({"x": np.zeros(3, "f8")}, {"fanin": '{"sha256":"","content":{}}'}), "of type F64"),
        ((10**5).to_bytes(8, "little") + b'{"a":' * 20000, "not a model file"),
    ],
)
def test_what_is_no_model_file(tmp_path, data, complaint):
    with pytest.raises(ModelFileError, match=complaint):
        load_bytes(tmp_path, data)


def test_missing_files_and_folders(tmp_path):
    for path, complaint in (
        (tmp_path / "missing", "no such file"),
        (tmp_path, "is a directory"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ModelFileError, match=complaint):
            load_model(path)


def lie(change):
    """A file whose checksum is right, with the tensors and the description changed."""

    def told(content):
        tensors, text = tensor_file.unpack(content)
        description = msgspec.json.decode(text)
        change(tensors, description)
        return tensor_file.pack(tensors, msgspec.json.encode(description))

    return told


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(tensors, description):
        for key in path:
            description = description[key]
        description[last] = value

    return lie(change)


def tensor(name, value):
    return lie(lambda tensors, _: tensors.update({name: value}))


def drop(name):
    return lie(lambda tensors, _: tensors.pop(name))


def text(words):
    return tensor("words", np.frombuffer(words, np.uint8))


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (put("format", 2), "is of format 2"),
        (put("format", "1"), r"at `\$\.format`"),
        (put("surprise", 1), "surprise"),
        (put("network", "kind", "transformer"), "transformer"),
        (put("network", "kind", None), "not known"),
        (put("network", "embedding", 3), r"'embedding.weight' .* has float32 and \(20, 3\)"),
        (put("network", "embedding", 2.0), r"at `\$\.network"),
        (put("network", "embedding", True), "with the embedding True"),
        (put("network", "embedding", "2"), "with the embedding '2'"),
        (put("network", "block", -3), "block must be a whole number of 1"),
        (put("network", "hidden", [4, 5]), "lacks 'hidden.1.weight'"),
        (put("network", "hidden", [4] * 10**5), "more hidden layers than"),
        (put("network", "hidden", [10**30]), "number out of range|hidden"),
        (put("network", "width", 3), "width"),
        (put("network", "activation", "os:abort"), "activation 'os:abort'"),
        (put("network", "activation", None), "with the activation None"),
        (put("network", "vocabulary", 28), "'embedding.weight' among the parameters"),
        (put("symbols", ["a"]), "its vocabulary has 2 ids"),
        (put("symbols", 0, "\x1b"), r"control character U\+001B"),
        (put("symbols", 0, "!"), "its vocabulary lacks ' '"),
        (put("symbols", 0, "zz"), "one character"),
        (put("split_seed", -1), "negative"),
        (put("duplicates", -1), "negative"),
        (put("options", "steps", 10), "20 steps of at most 10"),
        (put("options", "lr", -1.0), "lr must be a positive number"),
        (put("options", "batch", "32"), r"at `\$\.options"),
        (put("dev_steps", [0, 7, 14, 21]), "dev losses do not fit"),
        (put("dev_steps", [0, 7, 7, 20]), "dev losses do not fit"),
        (put("dev_steps", [0]), "dev losses do not fit"),
        (put("losses", {"dev": "low"}), r"at `\$\.losses"),
        (drop("words"), "lacks the tensor 'words'"),
        (drop("history/batch_losses"), "lacks the tensor"),
        (drop("parameters/output.bias"), "lacks 'output.bias'"),
        (tensor("parameters/more", np.zeros(3, "f4")), "holds 'more' among the parameters"),
        (tensor("statistics/more", np.zeros(3, "f4")), "holds 'more' among the statistics"),
        (tensor("more", np.zeros(3, "f4")), "holds the tensor 'more'"),
        (tensor("parameters/output.bias", np.zeros(20, "i4")), "int32"),
        (tensor("parameters/output.bias", np.zeros((20, 1), "f4")), r"\(20, 1\)"),
        (tensor("parameters/output.bias", np.zeros((0, 5), "f4")), r"\(0, 5\)"),
        (tensor("parameters/output.bias", np.full(20, np.inf, "f4")), "not finite"),
        (tensor("history/batch_losses", np.zeros((20, 1), "f4")), "should be a row"),
        (tensor("words", np.zeros(8, "f4")), "should be a row"),
        (text(b""), "its list of words"),
        (text(b"ann\nann"), "its list of words"),
        (text(b"ann\n\nzo"), "its list of words"),
        (text("zoe\u0308".encode()), "its list of words"),
        (text(b"ann\x00"), "its list of words"),
        (text(b"\xff\xfe"), "utf-8"),
        (text(b"xylophone"), r"its vocabulary lacks '[hlpx]'"),
    ],
)
def test_a_file_that_lies(content, tmp_path, told, complaint):
    with pytest.raises(ModelFileError, match=complaint) as error:
        load_bytes(tmp_path, told(content))
    assert str(error.value).startswith(str(tmp_path))


# Activations that are code.


def test_a_file_gets_no_code_run(tmp_path, monkeypatch):
    (tmp_path / "own_activation.py").write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path)!r}, 'imported').touch()\n"
        "def cube(x):\n    return x**3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = trained(activation="own_activation:cube")
    save_model(model, tmp_path / "m")
    (tmp_path / "imported").unlink()
    monkeypatch.delitem(sys.modules, "own_activation")
    for given_one in ({}, {"activation": "tanh"}):
        with pytest.raises(
            ModelFileError, match="trained with the activation 'own_activation:cube'"
        ):
            load_model(tmp_path / "m", **given_one)
    assert not (tmp_path / "imported").exists()
    back = load_model(tmp_path / "m", activation="own_activation:cube")
    assert back.network == model.network
    assert (tmp_path / "imported").exists()
