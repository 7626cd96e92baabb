"""What becomes of a race and of a map when one of their processes is killed or frozen.

    python -m benchmarks.lost_processes [--write]

Real processes on the loopback: two and three of them, a worker or process 0 as the victim, by
SIGKILL and SIGSTOP. Told are the seconds until the others have ended and how, and whether the same
command with another number of processes then gives the numbers of work that nothing befell.
Each frozen process takes some 20 seconds to be found out: six minutes in all, on two free cores.
With --write the table goes into docs/cluster.md.
"""

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
Work = Literal["race", "map"]
COMMANDS: dict[Work, list[str]] = {
    "race": [
        *("race", "--hidden", "8", "--embedding", "4", "--batch", "8", "--seeds", "4"),
        *("--steps", "20000", "--eval-every", "500", "--first-seed", "3", "--lr", "0.05"),
        *("--start", "fanin", "--start", "kaiming-normal"),
    ],
    "map": [
        *("map", "--x", "gain=0.5:2:20", "--y", "depth=1:20:20", "--width", "8"),
        *("--block", "2", "--embedding", "2", "--steps", "20", "--batch", "8"),
    ],
}
TABLES: dict[Work, str] = {"race": "--csv", "map": "--data"}
UNDER_WAY = 20
"""Lines of the record: the opening and some stretches, or cells."""
CASES = [
    (count, victim, how)
    for count in (2, 3)
    for victim in (1, 0)
    for how in (signal.SIGKILL, signal.SIGSTOP)
]


@dataclass(frozen=True)
class Ended:
    """How one of the others ended, so many seconds after the loss."""

    place: int
    code: int
    seconds: float
    out: str
    errors: str


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


def record_of(work: Work, folder: Path) -> Path:
    """Where the work's record is."""
    return folder / f"{work}.jsonl"


def begin(work: Work, count: int, folder: Path, *more: str) -> list[subprocess.Popen[str]]:
    """So many processes at one race or map, whose record is in the folder.

    `more` are options of process 0, where there are several.
    """
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "fanin", *COMMANDS[work]]
    together = ["--coordinator", address, "--processes", str(count), "--process"]
    own = ["--out", str(folder), *more]
    return [
        subprocess.Popen(
            [
                *command,
                *(own if place == 0 else []),
                *([*together, str(place)] if count > 1 else []),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in range(count)
    ]


def finish(work: Work, count: int, folder: Path) -> str:
    """The numbers of the work, once so many processes have gone on with it to the end."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"{count}.csv"
    processes = begin(work, count, folder, TABLES[work], str(table), "--quiet")
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return table.read_text()


def lose(
    work: Work, count: int, victim: int, how: signal.Signals, folder: Path, *more: str
) -> list[Ended]:
    """Begins the work, loses a process in the midst of it, and waits for the others to end.

    Those that have not after a minute are killed, and subprocess.TimeoutExpired is raised.
    """
    processes = begin(work, count, folder, *more)
    try:
        _wait(record_of(work, folder), processes)
        began = time.monotonic()
        processes[victim].send_signal(how)
        ended: list[Ended] = []
        for place, process in enumerate(processes):
            if place != victim:
                out, errors = process.communicate(timeout=60)
                seconds = time.monotonic() - began
                ended.append(Ended(place, process.returncode, seconds, out, errors))
        return ended
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _wait(record: Path, processes: Sequence[subprocess.Popen[str]]) -> None:
    until = time.monotonic() + 120
    while not (record.exists() and record.read_bytes().count(b"\n") >= UNDER_WAY):
        assert time.monotonic() < until, "the work did not get under way"
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def write_between(name: str, text: str) -> None:
    """Puts the text into the page's place of that name."""
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- to here -->")
    PAGE.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def _row(
    work: Work, count: int, victim: int, how: signal.Signals, folder: Path, wanted: str
) -> str:
    ended = lose(work, count, victim, how, folder)
    for each in ended:
        said = [line for line in each.errors.splitlines() if line.startswith("fanin: ")]
        print(f"  {each.place}: {'; '.join(said)}", file=sys.stderr, flush=True)
    same = finish(work, {2: 3, 3: 1}[count], folder) == wanted
    codes = ", ".join(f"{each.place}: {each.code}" for each in ended)
    return (
        f"| {work} | {count} | process {victim} | {how.name} | "
        f"{max(each.seconds for each in ended):.1f} s | {codes} | "
        f"{'the same numbers' if same else 'OTHER NUMBERS'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lost_processes", description=__doc__
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/cluster.md")
    given = parser.parse_args()
    lines = [
        "| work | processes | lost | by | others ended after | their exit codes | then |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        for work in COMMANDS:
            wanted = finish(work, 1, folder / f"{work}-whole")
            for count, victim, how in CASES:
                name = f"{work}-{count}-{victim}-{how.name}"
                lines.append(_row(work, count, victim, how, folder / name, wanted))
                print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if given.write:
        write_between("lost", "\n".join(lines))


if __name__ == "__main__":
    main()
