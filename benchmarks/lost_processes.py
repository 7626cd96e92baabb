"""What becomes of a race of several processes when one of them is killed or frozen.

    python -m benchmarks.lost_processes [--write]

Real processes on the loopback: two and three of them, a worker or process 0 as the victim, by
SIGKILL and SIGSTOP. Told are the seconds until the others have ended and how, and whether the same
command with another number of processes then gives the numbers of a race that nothing befell.
Each frozen process takes some 20 seconds to be found out: three minutes in all, on two free cores.
With --write the table goes into docs/cluster.md.
"""

import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
RACE = [
    *("race", "--hidden", "8", "--embedding", "4", "--batch", "8", "--seeds", "4"),
    *("--steps", "30000", "--eval-every", "500", "--first-seed", "3", "--lr", "0.05"),
    *("--start", "fanin", "--start", "kaiming-normal"),
]


def free_port() -> int:
    """A port that is free, as is the next one; below those that systems give away by themselves."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            for each in (port, port + 1):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port


def begin(count: int, folder: Path, *more: str) -> list[subprocess.Popen[str]]:
    """So many processes at one race, whose record is in the folder."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "fanin", *RACE, *more, "--out", str(folder)]
    together = ["--coordinator", address, "--processes", str(count), "--process"]
    return [
        subprocess.Popen(
            [*command, *together, str(place)] if count > 1 else command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in range(count)
    ]


def finish(count: int, folder: Path) -> str:
    """The race's standings once it is through."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"{count}.csv"
    for process in begin(count, folder, "--csv", str(table), "--quiet"):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return table.read_text()


def wait_for(folder: Path, step: int, processes: Sequence[subprocess.Popen[str]]) -> None:
    record = folder / "race.jsonl"
    while not (record.exists() and f'"step":{step},'.encode() in record.read_bytes()):
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def lose(count: int, victim: int, how: signal.Signals, folder: Path, wanted: str) -> str:
    """One row: who was lost how, what the others did, and how the race went on."""
    processes = begin(count, folder)
    wait_for(folder, 2_000, processes)
    began = time.monotonic()
    processes[victim].send_signal(how)
    ended: list[str] = []
    slowest, said = 0.0, ""
    for place, process in enumerate(processes):
        if place == victim:
            continue
        _, errors = process.communicate(timeout=60)
        slowest = max(slowest, time.monotonic() - began)
        ended.append(f"{place}: {process.returncode}")
        if place == 0 and "fanin: process" in errors:
            said = errors[errors.index("fanin: process") :].splitlines()[0]
    processes[victim].kill()
    processes[victim].communicate()
    print(f"  {said}", file=sys.stderr, flush=True)
    same = finish({2: 3, 3: 1}[count], folder) == wanted
    who = "process 0" if victim == 0 else f"process {victim}"
    return (
        f"| {count} | {who} | {how.name} | {slowest:.1f} s | {', '.join(ended)} | "
        f"{'the same numbers' if same else 'OTHER NUMBERS'} |"
    )


def write_between(name: str, text: str) -> None:
    """Puts the text into the page's place of that name."""
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- to here -->")
    PAGE.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        wanted = finish(1, folder / "whole")
        lines = [
            "| processes | lost | by | others ended after | their exit codes | then |",
            "|---|---|---|---|---|---|",
        ]
        for count in (2, 3):
            for victim in (1, 0):
                for how in (signal.SIGKILL, signal.SIGSTOP):
                    name = f"{count}-{victim}-{how.name}"
                    lines.append(lose(count, victim, how, folder / name, wanted))
                    print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if "--write" in sys.argv:
        write_between("lost", "\n".join(lines))


if __name__ == "__main__":
    main()
