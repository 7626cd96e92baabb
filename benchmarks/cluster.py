"""What several processes at one race gain, and what a gather costs process 0.

    python -m benchmarks.cluster --write      (two minutes on two free cores)

First one to four real processes on the loopback, each pinned to a core of its own as far as there
are cores, with the same work for each; then process 0's end of a gather from up to 1,000
connections, whose other ends are held by one more process. With --write the tables go into
docs/cluster.md.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from benchmarks.lost_processes import free_port, write_between

from fanin.networks import CharacterMLP
from fanin.race import Lane, Processes
from fanin.race.events import Chunk, Later
from fanin.race.joining import raise_most_files
from fanin.race.lanes import state_bytes
from fanin.race.links import Link
from fanin.race.machine import this_machine
from fanin.race.record import Record
from fanin.starts import find_start
from fanin.training import TrainingOptions

RUNS = 8  # of each process
STEPS, EVERY = 20_000, 1_000
ROUNDS = 20
HOSTS = (1, 10, 100, 1_000)


def race(count: int) -> tuple[float, float]:
    """Microseconds for a step of a run, and each process's own, with so many processes."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fanin", "race", "--start", "fanin", "--quiet"]
        command += ["--seeds", str(RUNS * count), "--steps", str(STEPS)]
        command += ["--eval-every", str(EVERY), "--out", folder]
        address = [
            "--coordinator",
            f"127.0.0.1:{free_port()}",
            "--processes",
            str(count),
            "--process",
        ]
        started = [
            subprocess.Popen(
                ["taskset", "-c", str(cores[place % len(cores)]), *command, *address, str(place)],
                stdout=subprocess.DEVNULL,
            )
            for place in range(count)
        ]
        assert [process.wait() for process in started] == [0] * count
        chunks: dict[int, list[dict[str, float]]] = {}
        for line in (Path(folder) / "race.jsonl").read_text().splitlines():
            event = json.loads(line)["event"]
            if event["kind"] == "chunk":
                chunks.setdefault(event["step"], []).append(event)
    # The first stretch compiles.
    first, *_, last = (max(e["seconds"] for e in chunks[step]) for step in sorted(chunks)[1:])
    steps = (STEPS - EVERY) * RUNS * count
    trained = [e["spent"] for step in sorted(chunks)[2:] for e in chunks[step]]
    return 1e6 * (last - first) / steps, 1e6 * statistics.mean(trained) / EVERY


def gather(hosts: int) -> tuple[float, int]:
    """Process 0's median seconds for a gather from so many and its lines in a record; bytes of one.

    Each says what eight runs on a host of eight cores say after a stretch.
    """
    raise_most_files()
    chunk = Chunk(
        tuple((0, seed) for seed in range(RUNS)), 5_000, (2.345678901,) * RUNS,
        (2.345678901,) * RUNS, 123.456789, 0.123456789,
    )  # fmt: skip
    message = msgspec.json.encode([chunk])
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as server,
        tempfile.NamedTemporaryFile() as file,
    ):
        port = server.getsockname()[1]
        other = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cluster", "--hosts", str(hosts), str(port)],
            stdin=subprocess.PIPE,
        )
        links = {place: Link(server.accept()[0]) for place in range(1, hosts + 1)}
        assert other.stdin is not None
        other.stdin.write(message.hex().encode() + b"\n")
        other.stdin.flush()
        record = Record(Path(file.name), os.open(file.name, os.O_WRONLY), 0, 0)
        team = Processes(0, hosts + 1, links)
        taken: list[float] = []
        for _ in range(ROUNDS):
            team.tell(b"go")
            time.sleep(0.2)  # until all have answered: what is measured is process 0's end
            began = time.perf_counter()
            for part in team.gather(b"")[1:]:
                for event in msgspec.json.decode(part, type=list[Later]):
                    record.append(event)
            team.tell(b"")
            taken.append(time.perf_counter() - began)
            team.gather(b"")
        team.abandon()
        record.close()
        other.wait()
    return statistics.median(taken), len(message)


def computed(step: float, gathers: dict[int, float]) -> list[str]:
    """The table of what more hosts would gain, each of eight cores with a run on each.

    From the seconds of a step of a run and of a gather, and a network of 1 Gbit/s.
    """
    network = CharacterMLP(27)
    size = state_bytes(Lane("", network, find_start("fanin"), TrainingOptions()))
    lines = [
        (
            "| hosts | runs | share of the time that is training, stretches of 1,000 | of 10,000 "
            "| all states over 1 Gbit/s |"
        ),
        "|---|---|---|---|---|",
    ]
    for hosts, seconds in gathers.items():
        shares = [steps * step / (steps * step + seconds) for steps in (1_000, 10_000)]
        states = 8 * hosts * RUNS * size / 1e9
        lines.append(
            f"| {hosts:,} | {hosts * RUNS:,} | {shares[0]:.0%} | {shares[1]:.0%} | {states:.2g} s |"
        )
    return lines


def be_hosts(count: int, port: int) -> None:
    """The other ends: so many processes of which each has one thing to say."""
    raise_most_files()
    links = [Link(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
    message = bytes.fromhex(sys.stdin.readline())
    for _ in range(ROUNDS):
        for link in links:
            link.receive()
            link.send(message)
        for link in links:
            link.receive()
            link.send(b"")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/cluster.md")
    parser.add_argument("--hosts", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.hosts:
        be_hosts(*given.hosts)
        return
    machine = this_machine()
    lines = [
        "| processes | cores | runs | µs for a step of a run, together | by its own clock | gain |",
        "|---|---|---|---|---|---|",
    ]
    alone = 0.0
    for count in (1, 2, 3, 4):
        together, own = race(count)
        alone = alone or together
        lines.append(
            f"| {count} | {min(count, machine.cores)} | {RUNS * count} | {together:.1f} "
            f"| {own:.1f} | {alone / together:.2f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    lines += [
        "",
        "| other processes | process 0's end of a gather | a line each of |",
        "|---|---|---|",
    ]
    gathers: dict[int, float] = {}
    for hosts in HOSTS:
        gathers[hosts], size = gather(hosts)
        seconds = gathers[hosts]
        lines.append(f"| {hosts:,} | {1e3 * seconds:.2f} ms | {size} bytes |")
        print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", *computed(alone / 1e6, gathers)]
    lines += ["", f"Made on: {machine.cpu}, {machine.cores} cores."]
    print("\n".join(lines))
    if given.write:
        write_between("measured", "\n".join(lines))


if __name__ == "__main__":
    main()
