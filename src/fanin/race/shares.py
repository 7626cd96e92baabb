"""How runs and their states are dealt to several processes, and put together again."""

from collections.abc import Mapping, Sequence

import numpy as np

from fanin.race.lanes import Lane, Run, grouped


def deal(
    lanes: Sequence[Lane], runs: Sequence[Run], places: int, processes: int
) -> list[tuple[Run, ...]]:
    """Each process's share.

    Runs that one call of a program trains, `places` of them, stay together: none would be through
    sooner where they are torn apart.
    """
    shares = [list[Run]() for _ in range(processes)]
    waves = [
        members[first : first + places]
        for members in grouped(lanes, runs).values()
        for first in range(0, len(members), places)
    ]
    # Full ones first, so that what is left over falls to different processes.
    for turn, wave in enumerate(sorted(waves, key=len, reverse=True)):
        shares[turn % processes] += wave
    return [tuple(share) for share in shares]


def states_of(
    lanes: Sequence[Lane],
    runs: Sequence[Run],
    parts: Sequence[tuple[Sequence[Run], Mapping[str, np.ndarray]]],
) -> dict[str, np.ndarray]:
    """These runs' states, as `Heat.save` of them gives, from saves of parts that hold them.

    Raises KeyError where a run is in none.
    """
    whole: dict[str, np.ndarray] = {}
    for group, (program, members) in enumerate(grouped(lanes, runs).items()):
        held, pieces = list[Run](), list[dict[str, np.ndarray]]()
        for theirs, states in parts:
            for place, (other, found) in enumerate(grouped(lanes, theirs).items()):
                if other == program:
                    held += found
                    pieces.append(of_group(states, place))
        where = {run: row for row, run in enumerate(held)}
        rows = [where[run] for run in members]
        for name in pieces[0]:
            leaves = [piece[name] for piece in pieces]
            whole[f"{group}/{name}"] = np.concatenate(leaves)[rows]
    return whole


def of_group(states: Mapping[str, np.ndarray], group: int) -> dict[str, np.ndarray]:
    """The arrays of one program's runs, by their place in the state."""
    prefix = f"{group}/"
    return {
        name.removeprefix(prefix): array
        for name, array in states.items()
        if name.startswith(prefix)
    }


def in_words(lanes: Sequence[Lane], runs: Sequence[Run]) -> str:
    """Which runs they are: "3 runs: fanin, seeds 0 to 1; normal, seed 1"."""
    if not runs:
        return "no runs"
    parts: list[str] = []
    for place, lane in enumerate(lanes):
        seeds = sorted(run.seed for run in runs if run.lane == place)
        if len(seeds) == 1:
            parts.append(f"{lane.name}, seed {seeds[0]}")
        elif seeds:
            whole = seeds[-1] - seeds[0] == len(seeds) - 1
            these = f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds[:8]))
            parts.append(f"{lane.name}, seeds {these}{', …' * (not whole and len(seeds) > 8)}")
    more = f"; and {len(parts) - 4} more" if len(parts) > 4 else ""
    return f"{len(runs):,} run{'s' * (len(runs) > 1)}: {'; '.join(parts[:4])}{more}"
