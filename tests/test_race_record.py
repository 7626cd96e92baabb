import json
import math
import os
import resource
import subprocess
import sys
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.race.events import Chunk, Finished, Opening, Resumed, Tuned
from fanin.race.machine import Machine, this_machine
from fanin.race.record import RecordError, open_record, read_record

HERE = Machine("a processor", 2, "Linux x86_64", {"python": "3.11.2", "jax": "0.10.2"})
OPENING = Opening(("fanin", "normal"), (0, 1), {"steps": 100, "batch": 32}, HERE)
EVENTS = (
    Tuned(1, 0.1, (0.1, 0.3), (100, 101), ((2.5, 2.6), (2.7, math.nan))),
    Chunk(((0, 0), (0, 1), (1, 0)), 50, (2.5, 2.6, math.inf), (2.4, 2.5, math.nan), 1.5),
    Chunk(((0, 0), (0, 1)), 100, (2.2, 2.3), None, 2.5),
    Finished((0, 0), 100, 2.31, 2.32, 2.5),
    Finished((0, 1), 100, 2.41, 2.42, 2.5),
    Finished((1, 0), 50, None, math.nan, 1.5),
)


def written(folder, events=EVENTS):
    path = folder / "race.jsonl"
    record, recorded = open_record(path, OPENING)
    assert recorded.events == ()
    with record:
        for event in events:
            record.append(event)
    return path


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return written(tmp_path_factory.mktemp("record")).read_bytes()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "race.jsonl"


def test_what_was_written_is_read_again_with_null_for_what_is_not_finite(tmp_path):
    recorded = read_record(written(tmp_path))
    assert recorded.opening == OPENING
    assert recorded.dropped is None
    tuned, chunk, *rest = recorded.events
    assert tuned.dev_loss == ((2.5, 2.6), (2.7, None))
    assert chunk.batch_loss == (2.5, 2.6, None)
    assert (chunk.dev_loss, chunk.runs) == ((2.4, 2.5, None), ((0, 0), (0, 1), (1, 0)))
    assert rest == [*EVENTS[2:5], Finished((1, 0), 50, None, None, 1.5)]


def test_each_line_is_json_with_its_number_and_the_checksum_of_what_is_before(content):
    for number, line in enumerate(content.splitlines(), 1):
        read = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert read["line"] == number
        assert int(read["crc"], 16) == zlib.crc32(line[: line.index(b',"crc":')])


def test_a_record_cut_at_any_byte_gives_the_lines_before(content, damaged):
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        damaged.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        if not whole:
            with pytest.raises(RecordError, match=r"first line is (cut off|missing)"):
                read_record(damaged)
            continue
        recorded = read_record(damaged)
        assert len(recorded.events) == whole - 1
        left = cut - ends[whole - 1]
        assert recorded.whole_bytes == ends[whole - 1]
        if left:
            assert recorded.dropped == (
                f"{damaged}: line {whole + 1} is cut off and is dropped; {left} bytes in all; "
                f"whole lines before it: {whole}"
            )
        else:
            assert recorded.dropped is None


@given(st.data())
def test_a_record_with_one_byte_changed_gives_the_lines_before(content, damaged, data):
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    damaged.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    before = content.count(b"\n", 0, place)
    if not before:
        with pytest.raises(RecordError, match=r"first line is (damaged|cut off)"):
            read_record(damaged)
        return
    recorded = read_record(damaged)
    assert len(recorded.events) == before - 1
    assert f"line {before + 1} is " in recorded.dropped


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:2], lines[1], *lines[2:]],
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: [*lines[:2], b"\x00" * 80 + b"\n", *lines[2:]],
    ],
    ids=["lost", "doubled", "exchanged", "empty", "zeros"],
)
def test_lines_that_are_not_in_their_place_are_damage(content, damaged, change):
    lines = content.splitlines(keepends=True)
    changed = change(lines)
    damaged.write_bytes(b"".join(changed))
    recorded = read_record(damaged)
    assert len(recorded.events) == 1
    assert "line 3 is damaged and is dropped" in recorded.dropped
    assert f"and so is what comes after it (lines: {len(changed) - 3})" in recorded.dropped


def test_a_race_goes_on_after_what_was_whole_and_keeps_what_was_not(tmp_path, content):
    path = written(tmp_path)
    path.write_bytes(content[:-5])
    elsewhere = replace(HERE, cores=4)
    again = Opening(OPENING.lanes, OPENING.seeds, OPENING.options, elsewhere)
    record, recorded = open_record(path, again)
    assert "line 7 is cut off" in recorded.dropped
    assert recorded.events[-1] == Resumed(elsewhere, recorded.dropped)
    assert len(recorded.events) == 6
    with record:
        record.append(EVENTS[-1])
    last = content.splitlines(keepends=True)[-1]
    assert (tmp_path / "race.jsonl.dropped").read_bytes() == last[:-5]
    read = read_record(path)
    assert read.dropped is None
    assert read.events == (*recorded.events, Finished((1, 0), 50, None, None, 1.5))
    assert HERE.differences(elsewhere) == ("cores 2, then 4",)


@pytest.mark.parametrize("cut", [0, 1, 30, 200])
def test_a_record_cut_off_within_its_first_line_is_begun_anew(tmp_path, content, cut):
    path = tmp_path / "race.jsonl"
    path.write_bytes(content[:cut])
    record, recorded = open_record(path, OPENING)
    record.close()
    assert recorded.events == ()
    assert path.read_bytes() == content.splitlines(keepends=True)[0]


@pytest.mark.parametrize("other", [b"a letter", b"a letter\n", b'{"line":1}\n', b"\xff\xfe\n"])
def test_someone_elses_file_is_left_as_it_is(tmp_path, other):
    path = tmp_path / "race.jsonl"
    path.write_bytes(other)
    with pytest.raises(RecordError, match="is no record of a race: its first line is"):
        open_record(path, OPENING)
    assert path.read_bytes() == other


def test_another_race_is_refused_by_what_differs(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    for opening, message in [
        (Opening(("fanin",), (0, 1), OPENING.options, HERE), 'lanes was .*"normal"'),
        (Opening(OPENING.lanes, (0, 2), OPENING.options, HERE), r"seeds was \[0,1\].* \[0,2\]"),
        (
            Opening(OPENING.lanes, (0, 1), {"steps": 200, "batch": 32}, HERE),
            "holds another race: steps was 100, and is now 200; give the same options, or another",
        ),
        (Opening(OPENING.lanes, (0, 1), {"steps": 100}, HERE), "batch was 32, and is now not set"),
    ]:
        with pytest.raises(RecordError, match=message):
            open_record(path, opening)
    assert path.read_bytes() == before


def test_options_are_compared_as_json(tmp_path):
    opening = Opening(OPENING.lanes, OPENING.seeds, {"hidden": (100, 50), "lr": None}, HERE)
    open_record(tmp_path / "race.jsonl", opening)[0].close()
    open_record(tmp_path / "race.jsonl", opening)[0].close()


def test_one_process_at_a_time_writes(tmp_path):
    path = tmp_path / "race.jsonl"
    record, _ = open_record(path, OPENING)
    with record, pytest.raises(RecordError, match="another process is at work here"):
        open_record(path, OPENING)
    open_record(path, OPENING)[0].close()


def test_a_process_that_is_killed_loses_no_line(tmp_path):
    path = tmp_path / "race.jsonl"
    program = (
        "import os, signal, sys\n"
        "from fanin.race.events import Finished, Opening\n"
        "from fanin.race.machine import Machine\n"
        "from fanin.race.record import open_record\n"
        "opening = Opening(('fanin',), (0,), {}, Machine('', 1, '', {}))\n"
        "record, _ = open_record(sys.argv[1], opening)\n"
        "record.append(Finished((0, 0), 1, 2.0, 2.0, 0.5))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode < 0
    recorded = read_record(path)
    assert recorded.dropped is None
    assert recorded.finished()[0, 0].test_loss == 2.0


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path):
    path = tmp_path / "race.jsonl"
    record, _ = open_record(path, OPENING)
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with record:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
        try:
            with pytest.raises(
                RecordError, match=r"race\.jsonl: cannot be written: file too large"
            ):
                record.append(EVENTS[3])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.stat().st_size == size
        record.append(EVENTS[4])
    recorded = read_record(path)
    assert (recorded.events, recorded.dropped) == ((EVENTS[4],), None)


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"missing\.jsonl: cannot be read: no such file"):
        read_record(tmp_path / "missing.jsonl")
    with pytest.raises(RecordError, match="cannot be written: is a directory"):
        open_record(tmp_path, OPENING)
    with pytest.raises(RecordError, match="cannot be written"):
        open_record(tmp_path / "no" / "race.jsonl", OPENING)


def line_of(event, number=1):
    body = b'{"line":%d,"event":%b' % (number, event)
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b'{"kind":"opening","schema":2}'], r"another version of fanin \(schema 2; this one rea"),
        ([b'{"kind":"opening","lanes":[1]}'], r"line 1: is whole, but not what .*lanes\[0\]"),
        ([b'{"kind":"dancing"}'], "line 1: is whole, but not what fanin writes"),
        ([b"[" * 100_000 + b"]" * 100_000], "line 1: is whole, but not what fanin writes"),
        ([b'{"kind":"opening","lanes":["\xff"]}'], "line 1: is whole, but not what fanin writes"),
        (
            [b'{"kind":"finished","run":[0,0],"step":1,"dev_loss":1,"test_loss":1,"seconds":1}'],
            "has not one opening",
        ),
    ],
)
def test_whole_lines_that_fanin_does_not_write_are_errors(tmp_path, lines, message):
    path = tmp_path / "race.jsonl"
    path.write_bytes(b"".join(line_of(line, place) for place, line in enumerate(lines, 1)))
    with pytest.raises(RecordError, match=message):
        read_record(path)


def test_this_machine_is_named():
    machine = this_machine()
    assert machine.cpu
    assert 1 <= machine.cores <= os.cpu_count()
    assert machine.versions["python"].startswith(f"{sys.version_info.major}.")
    assert {"jax", "jaxlib", "numpy"} <= set(machine.versions)
    assert machine.differences(machine) == ()
    assert machine == this_machine()


@given(st.floats(), st.integers(0, 2**53), st.lists(st.floats(width=32), max_size=4))
def test_every_number_survives(tmp_path_factory, seconds, step, losses):
    runs = tuple((0, seed) for seed in range(len(losses)))
    event = Chunk(runs, step, tuple(losses), None, 0.5)
    path = written(tmp_path_factory.mktemp("numbers"), (event, Finished((0, 0), 1, seconds, 0, 1)))
    chunk, finished = read_record(path).events
    expected = tuple(loss if math.isfinite(loss) else None for loss in losses)
    assert (chunk.batch_loss, chunk.step) == (expected, step)
    assert finished.dev_loss == (seconds if math.isfinite(seconds) else None)
