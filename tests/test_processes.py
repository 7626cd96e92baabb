"""Several processes at one race: what they tell each other, share, and do when one is lost."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import jax
import numpy as np
import pytest
from benchmarks.lost_processes import free_port

from fanin.cli import main
from fanin.corpus import Corpus, Words
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.race import Lane, Processes, ProcessLost, Run, join
from fanin.race.agreement import agree
from fanin.race.joining import only_this_machine, place_in_cluster
from fanin.race.lanes import grouped
from fanin.race.links import Link
from fanin.race.machine import this_machine
from fanin.race.processes import ALONE
from fanin.race.run import Heat
from fanin.race.shares import deal, in_words, states_of
from fanin.starts import find_start
from fanin.training import TrainingOptions

NAMES = tuple(a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie"))
HERE = "127.0.0.1"


@pytest.fixture
def three():
    """Process 0 and two others, over real connections."""
    with socket.create_server((HERE, 0)) as server:
        ends = []
        for _ in range(2):
            there = socket.create_connection(server.getsockname())
            ends.append((Link(server.accept()[0]), Link(there)))
    processes = [Processes(0, 3, {place: ours for place, (ours, _) in enumerate(ends, 1)})]
    processes += [Processes(place, 3, {0: theirs}) for place, (_, theirs) in enumerate(ends, 1)]
    yield processes
    for process in processes:
        process.abandon()


@pytest.fixture
def lanes():
    corpus = Corpus.of(Words(NAMES, "names", 0), block=2)
    options = TrainingOptions(steps=4, batch=4)
    return corpus, [
        Lane(f"{width}", CharacterMLP(len(corpus.vocabulary), 2, 2, (width,)), start, options)
        for width, start in ((3, find_start("fanin")), (4, find_start("kaiming-normal")))
    ]


def at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(10) for future in [pool.submit(*call) for call in calls]]


def test_what_is_gathered_goes_to_process_0_and_what_it_decides_to_all(three):
    large = bytes(range(256)) * 20_000
    for message in (b"", b"a", large):
        found = at_once(
            *[(process.gather, message + bytes([p])) for p, process in enumerate(three)]
        )
        assert found == [[message + bytes([p]) for p in range(3)], [], []]
    # A process that is ahead has said the next thing already.
    three[1].gather(b"first")
    three[1].gather(b"second")
    for said in (b"first", b"second"):
        three[2].gather(b"")
        assert three[0].gather(b"")[1] == said
    assert at_once(*[(process.tell, b"go on") for process in three]) == [b"go on"] * 3
    parts = [b"0", b"1", b"2"]
    assert at_once(*[(process.hand_out, parts) for process in three]) == parts
    assert ALONE.gather(b"mine") == [b"mine"]
    assert ALONE.tell(b"mine") == b"mine"


def test_a_process_that_has_ended_is_named_even_while_another_is_waited_for(three):
    three[2].abandon()
    with pytest.raises(ProcessLost, match=r"process 2 \(127\.0\.0\.1\) of 3 has ended") as lost:
        three[0].gather(b"")
    assert lost.value.processes == (2,)
    three[0].abandon()
    with pytest.raises(ProcessLost, match=r"process 0 .* has ended"):
        three[1].tell()


def test_a_process_that_was_ahead_when_it_ended_is_missed_at_once(three):
    for said in (b"first", b"second", b"third"):
        three[1].gather(said)
    three[2].gather(b"")
    three[1].abandon()
    with pytest.raises(ProcessLost, match=r"process 1 \(127\.0\.0\.1\) of 3 has ended"):
        three[0].gather(b"")


def test_processes_with_other_options_or_versions_are_refused_on_all_of_them(three):
    machine = this_machine()
    options = [{"lane a": {"training": {"lr": rate}}} for rate in (0.1, 0.1, 0.3)]

    def refused(place):
        with pytest.raises(OptionError) as error:
            agree(three[place], options[place], machine)
        return str(error.value)

    said = at_once(*[(refused, place) for place in range(3)])
    assert said == [said[0]] * 3
    assert "process 2 has another task than process 0: lane a, training, lr is 0.3 there" in said[0]


def test_runs_are_dealt_by_whole_waves_and_none_is_left_out(lanes):
    _, both = lanes
    runs = [Run(lane, seed) for seed in range(5) for lane in (0, 1)]
    shares = deal(both, runs, places=2, processes=4)
    assert sorted(map(len, shares)) == [2, 2, 3, 3]
    assert sorted((r.lane, r.seed) for share in shares for r in share) == sorted(
        (r.lane, r.seed) for r in runs
    )
    assert deal(both, runs[:1], 2, 3) == [(runs[0],), (), ()]
    assert in_words(both, runs[:5]) == "5 runs: 3, seeds 0 to 2; 4, seeds 0 to 1"


def test_states_are_put_together_and_taken_apart_run_by_run(lanes):
    corpus, both = lanes
    runs = [Run(lane, seed) for seed in range(3) for lane in (0, 1)]

    def saved(members):
        return Heat(both, members, corpus, tile=1).save()

    whole = saved(runs)
    shares = deal(both, runs, 1, 4)
    again = states_of(both, runs, [(share, saved(share)) for share in shares])
    part = states_of(both, runs[3:], [(runs, whole)])
    for found, wanted in ((again, whole), (part, saved(runs[3:]))):
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)
    assert len(grouped(both, runs)) == 2
    with pytest.raises(KeyError):
        states_of(both, runs, [(runs[1:], saved(runs[1:]))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1", 2, 1), "is not HOST:PORT"),
        (("127.0.0.1:99999", 2, 1), "is not HOST:PORT"),
        (("127.0.0.1:9", 2, 2), "numbered from 0"),
        (("192.0.2.1:9876", 2, 0), "cannot listen at 192.0.2.1"),
    ],
)
def test_what_makes_no_company_is_told(arguments, message):
    with pytest.raises(OptionError, match=message):
        join(*arguments)
    assert join("127.0.0.1:9", 1, 0) is ALONE


def test_who_does_not_come_in_time_is_named_and_a_stranger_is_no_process():
    port = free_port()
    strange: list[bytes] = []

    def stranger():
        for _ in range(200):
            try:
                with socket.create_connection((HERE, port + 1)) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    strange.append(connection.recv(100))
                    return
            except OSError:
                time.sleep(0.01)

    thread = threading.Thread(target=stranger)
    thread.start()
    with pytest.raises(OptionError, match=r"of 3 processes these did not come .* in time: 1, 2"):
        join(f"{HERE}:{port}", 3, 0, wait=0.6)
    thread.join()
    assert strange == [b""]
    with pytest.raises(OptionError, match=r"process 0 was not found at .*: Connection refused"):
        join(f"{HERE}:{port}", 3, 1, wait=0.2)
    with socket.create_server((HERE, port)), pytest.raises(OptionError, match="already in use"):
        join(f"{HERE}:{port}", 3, 0, wait=5.0)


def test_a_process_that_ends_before_all_are_there_leaves_its_place_to_another():
    port = free_port()
    hello = {"processes": 3, "fanin": version("fanin"), "jax": jax.__version__}

    def came(process):
        until = time.monotonic() + 5
        while True:
            try:
                link = Link(socket.create_connection((HERE, port + 1)))
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.01)
                continue
            link.send(json.dumps({"process": process, **hello}).encode())
            return link

    def others():
        came(1).close()
        return [came(1), came(2)]

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(others)
        # Its others are no processes, so that JAX is not begun: it has begun here already.
        jax.devices()
        with pytest.raises(OptionError, match="JAX has begun already"):
            join(f"{HERE}:{port}", 3, 0, wait=5.0)
        for link in coming.result():
            assert link.receive() == b""
            link.close()


def test_an_unknown_host_is_told_by_the_command_too(capsys, monkeypatch, tmp_path):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for command in ("race", "map --x gain=1:2:2 --y depth=1:2:2"):
        together = "--coordinator nosuch.invalid:9876 --processes 2 --process 0 --wait 1"
        assert main([*command.split(), *together.split(), "--quiet"]) == 2
        assert "nosuch.invalid is not known here" in capsys.readouterr().err


def test_a_process_that_ends_while_another_computes_is_missed_without_waiting(three, lanes):
    _, both = lanes
    corpus, runs = lanes[0], [Run(lane, 0) for lane in (0, 1)]
    calls = []

    def check():
        calls.append(None)
        three[0].check()

    heat = Heat(both, runs, corpus, tile=1, between=check)
    heat.train(2)
    assert calls
    three[1].gather(b"said before it ended")
    three[1].abandon()
    with pytest.raises(ProcessLost, match=r"process 1 \(127\.0\.0\.1\) of 3 has ended"):
        heat.train(4)


def test_processes_that_have_computed_already_are_told_that_it_is_too_late():
    jax.devices()
    address = f"{HERE}:{free_port()}"

    def refused(place):
        with pytest.raises(OptionError, match="JAX has begun already"):
            join(address, 2, place, wait=5.0)

    at_once((refused, 0), (refused, 1))


def test_a_cluster_tells_its_processes_who_they_are(monkeypatch):
    assert place_in_cluster() is None
    slurm = {
        "SLURM_JOB_ID": "4097",
        "SLURM_STEP_NODELIST": "node[07-09]",
        "SLURM_NTASKS": "3",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    place = place_in_cluster()
    assert (place.coordinator, place.processes, place.process) == ("node07:61441", 3, 2)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert place_in_cluster() is None
    # A notebook in a pod is no part of a job.
    monkeypatch.undo()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert place_in_cluster() is None


def test_an_address_that_others_cannot_reach_is_noticed(monkeypatch):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.1.1", 9876))]
    )
    assert only_this_machine("node07:9876") == "127.0.1.1"
    assert only_this_machine("localhost:9876") is None
    assert only_this_machine("127.0.0.1:9876") is None
