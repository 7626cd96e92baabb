"""Files made to mislead, and places that take none: one message, the old file as it was."""

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from fanin.atomic_file import alone_at
from fanin.cli import MENDABLE, main
from fanin.corpus import Vocabulary, Words
from fanin.errors import ModelFileError
from fanin.map.record import MapCell, MapOpening, open_map_record
from fanin.model_file import load_model, save_model
from fanin.race.machine import Machine
from fanin.race.record import RecordError
from fanin.tensor_file import pack, unpack
from fanin.trainer import fit
from fanin.training import TrainingOptions

NAMES = [a + b for a in "abcdefghjk" for b in ("ann", "lo", "rie", "sé")]


@pytest.fixture(scope="module")
def model():
    return fit(Words.of(NAMES), options=TrainingOptions(steps=3, batch=2), hidden=(2,), block=1)


@pytest.fixture
def content(model, tmp_path):
    save_model(model, tmp_path / "sound")
    return (tmp_path / "sound").read_bytes()


def with_header(content, change):
    """The file with its safetensors header changed, as text, and nothing else."""
    (length,) = struct.unpack("<Q", content[:8])
    header = change(content[8 : 8 + length].decode()).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def entry(**changes):
    """The header with the entry of one tensor changed."""

    def change(text):
        header = json.loads(text)
        header["parameters/output.bias"] |= changes
        return json.dumps(header)

    return change


@pytest.mark.parametrize(
    "change",
    [
        entry(shape=[-1]),
        entry(shape=[2**63]),
        entry(shape=[2**40, 2**40]),
        entry(shape=[0]),
        entry(shape=[[1]]),
        entry(shape=[1.0]),
        entry(dtype="F64"),
        entry(dtype="I32"),
        entry(dtype="F4"),
        entry(dtype=None),
        entry(data_offsets=[0, 4]),
        entry(data_offsets=[4, 0]),
        entry(data_offsets=[-4, 4]),
        entry(data_offsets=[0, 2**64]),
        entry(data_offsets=[2**62, 2**62 + 4]),
        entry(data_offsets=[0]),
        entry(more=1),
        # One name for two tensors, of which a reader may take either.
        lambda text: text.replace('"parameters/hidden.0.bias"', '"parameters/output.bias"'),
        lambda text: text.replace('"__metadata__"', '"metadata"'),
        lambda text: text.replace("{", "{" + '"a":' + "[" * 500 + "]" * 500 + ",", 1),
        lambda text: text.replace("{", '{"a":NaN,', 1),
        lambda text: text.replace("{", '{"a":1e999,', 1),
        lambda text: text + " " * 100,
        lambda text: text + "x",
        lambda text: "\ud7ff" + text,
        lambda text: text[:-1],
        lambda text: "",
    ],
)
def test_a_hostile_header_is_refused_by_the_files_name(content, tmp_path, change):
    told = with_header(content, change)
    path = tmp_path / "m.safetensors"
    path.write_bytes(told)
    if told == content:
        raise AssertionError("nothing was changed")
    try:
        back = load_model(path)
    except ModelFileError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
    else:  # white space around what is the same
        assert unpack(content)[1] == unpack(told)[1]
        assert back.steps == 3


def test_a_header_longer_than_the_file_or_than_anything_is_refused(content, tmp_path):
    path = tmp_path / "m.safetensors"
    for length in (len(content), 99_999_999, 100_000_001, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        with pytest.raises(ModelFileError, match=r"m\.safetensors: not a model file"):
            load_model(path)


@pytest.mark.parametrize(
    ("text", "replacement"),
    [
        (b'"format":1', b'"format":1e0'),
        (b'"format":1', b'"format":' + b"9" * 400),
        (b'"format":1', b'"format":NaN'),
        (b'"seed":0', b'"seed":' + b"9" * 5000),
        (b'"seed":0', b'"seed":-0.5'),
        (b'"split_seed":0', b'"split_seed":1e400'),
        (b'"dev_steps":[', b'"dev_steps":[[' + b"[" * 5000 + b"]" * 5000 + b"],"),
        (b'"losses":{', b'"losses":{"dev":Infinity,'),
    ],
)
def test_a_description_that_lies_under_a_right_checksum(content, tmp_path, text, replacement):
    tensors, description = unpack(content)
    assert text in description
    path = tmp_path / "m.safetensors"
    path.write_bytes(pack(tensors, description.replace(text, replacement, 1)))
    with pytest.raises(ModelFileError, match=r"m\.safetensors: "):
        load_model(path)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_tensors_that_are_not_finite_are_refused(content, tmp_path, spoilt):
    tensors, description = unpack(content)
    changed = {name: np.array(tensor) for name, tensor in tensors.items()}
    changed["parameters/output.weight"][0, 0] = spoilt
    path = tmp_path / "m.safetensors"
    path.write_bytes(pack(changed, description))
    with pytest.raises(ModelFileError, match="holds numbers that are not finite"):
        load_model(path)


# Places.


@pytest.fixture
def folder(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    return tmp_path


TRAIN = ["train", "words.txt", "--steps", "2", "--hidden", "2", "--quiet"]


def refused(capsys, *arguments):
    assert main([*arguments]) == MENDABLE
    err = capsys.readouterr().err
    assert err.startswith("fanin: ")
    assert err.count("\n") == 1
    return err


def test_a_folder_that_may_not_be_written(folder, capsys):
    # Imports what nobody might not.
    refused(capsys, *TRAIN, "--plot", "words.txt/l.svg")
    refused(capsys, "race", "words.txt", "--out", "words.txt/x", "--quiet")
    closed = folder / "closed"
    closed.mkdir()
    (closed / "m").write_bytes(b"the old one")
    closed.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # nothing is closed to the superuser: write as nobody
        for above in (folder, *folder.parents):
            if not above.stat().st_mode & 0o005:
                above.chmod(above.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        for options in (
            ["--out", "closed/m"],
            ["--plot", "closed/l.svg", "--out", "/tmp/unused"],
        ):
            assert "permission denied" in refused(capsys, *TRAIN, *options)
        assert "closed" in refused(capsys, "race", "words.txt", "--out", "closed/new", "--quiet")
    finally:
        os.seteuid(user)
    assert (closed / "m").read_bytes() == b"the old one"


def test_a_file_where_a_folder_should_be(folder, capsys):
    asked = ["race", "words.txt", "--out", "words.txt/x"]
    assert "no folder for the record" in refused(capsys, *asked)
    small = ["--x", "gain=1:2:2", "--y", "depth=1:2:2", "--steps", "1", "--quiet"]
    assert "words.txt" in refused(capsys, "map", "words.txt", *small, "--out", "words.txt")


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_record_that_vanishes_while_it_grows(folder, how):
    path = folder / "map.jsonl"
    opening = MapOpening({"measure": "trained"}, Machine("a processor", 2, "Linux", {}))
    record, _ = open_map_record(path, opening)
    record.append(MapCell(0, 0, (1.0, 2.0, 3.0)))
    path.unlink()
    if how == "replaced":
        path.write_text("something else")
    with pytest.raises(RecordError, match=r"map\.jsonl: was removed or replaced"):
        record.append(MapCell(0, 1, (1.0, 2.0, 3.0)))
    record.close()
    assert path.exists() == (how == "replaced")


def test_a_record_that_is_gone_at_the_end_is_told(folder):
    path = folder / "map.jsonl"
    opening = MapOpening({"measure": "trained"}, Machine("a processor", 2, "Linux", {}))
    record, _ = open_map_record(path, opening)
    with pytest.raises(RecordError, match="was removed"), record:
        path.unlink()


def test_two_trainings_to_one_file(folder, capsys):
    with alone_at("m"):
        message = refused(capsys, *TRAIN, "--out", "m")
        assert "--out m: another process is training to this file" in message
        assert not (folder / "m").exists()
        assert main([*TRAIN, "--out", "other"]) == 0
    assert main([*TRAIN, "--out", "m"]) == 0
    assert not list(folder.glob(".fanin-*"))


def test_a_folder_that_vanishes_while_it_trains(folder, capsys, monkeypatch):
    import fanin.trainer

    (folder / "gone").mkdir()
    train = fanin.trainer.Run.train

    def vanishing(*arguments, **named):
        model = train(*arguments, **named)
        shutil.rmtree(folder / "gone")
        return model

    monkeypatch.setattr(fanin.trainer.Run, "train", vanishing)
    assert "gone/m: cannot be written: its folder does not exist" in refused(
        capsys, *TRAIN, "--out", "gone/m"
    )


def test_results_for_a_full_disk():
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    program = [sys.executable, "-m", "fanin", "starts", "--json"]
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == MENDABLE
    assert done.stderr == "fanin: the results cannot be written: No space left on device\n"


def test_messages_for_a_full_disk_are_lost_and_the_work_is_not(folder):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")

    def code(*arguments):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            command = [sys.executable, "-m", "fanin", *arguments]
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=full).returncode

    assert code(*TRAIN[:-1], "--out", "whole") == 0
    load_model("whole")
    assert code("train", "--nope") == MENDABLE


def test_two_writers_of_one_name_leave_one_whole_file(model, tmp_path):
    """And no reader ever sees anything else."""
    path = tmp_path / "m"
    save_model(model, path)
    whole = path.read_bytes()
    failed = []

    def write():
        try:
            for _ in range(40):
                save_model(model, path)
        except Exception as error:
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() == whole
    assert failed == []
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


def test_a_message_sends_no_control_sequences(folder, capsys):
    name = "\x1b[31m\u202ered\x07.txt"
    message = refused(capsys, "train", name)
    assert "\\x1b[31m\\u202ered\\x07.txt: there is no such file" in message


def test_a_sampled_word_sends_no_control_sequences(model, folder, capsys):
    """Not even where a model was made to know a symbol that turns the direction of text."""
    turning = "\u202e"
    symbols = (*model.vocabulary.symbols[:-1], turning)
    bias = np.zeros(len(symbols) + 1, np.float32)
    bias[-1] = 5.0
    made = replace(
        model,
        vocabulary=Vocabulary(symbols),
        words=Words.of([word for word in NAMES if "é" not in word]),
        parameters={**model.parameters, "output.bias": bias},
    )
    save_model(made, "hostile")
    assert main(["sample", "hostile"]) == 0
    out = capsys.readouterr().out
    assert "\\u202e" in out
    assert all(letter.isprintable() or letter == "\n" for letter in out)
