"""A race against the ways that PyTorch offers: how long one step of one of many runs takes.

fanin's race on one core and on all, and PyTorch: eager, the runs one after the other; the same in a
process a core; and its own vectorised way, `torch.func.vmap` over `functional_call`. Then all of
these from 2 runs to 512.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.contest import Contestant, Place, Times, closing_all, take_turns
from benchmarks.setting import NO_GPU, Setting, duration, megabytes, table

NETWORKS = {"3/4/100/32": (3, 4, 100, 32), "10/3/200/32": (10, 3, 200, 32)}
QUICK = {"2/2/8/4": (2, 2, 8, 4)}
MANY = 64
ROUNDS = 3  # by numbers of runs
RUNS = (2, 8, 32, 64, 128, 512)
MAKERS = "benchmarks.race_contenders:"
Group = Mapping[str, Sequence[Contestant]]
Way = Callable[[int], list[Contestant]]
"""From a number of runs to the processes that train them."""


def measure(setting: Setting) -> str:
    networks, many = (QUICK, 4) if setting.quick else (NETWORKS, MANY)
    has_torch = importlib.util.find_spec("torch") is not None
    parts = [many_runs(setting, sizes, many, has_torch) for sizes in networks.values()]
    runs = (2, 4) if setting.quick else RUNS
    parts += [by_runs(setting, name, sizes, runs, has_torch) for name, sizes in networks.items()]
    said = (
        f"{setting.rounds} rounds at {many} runs, {min(ROUNDS, setting.rounds)} of each way alone "
        "by numbers of runs."
    )
    return "\n\n".join([*parts, said])


def many_runs(setting: Setting, sizes: Sequence[int], runs: int, has_torch: bool) -> str:
    every, one, cores = setting.all, _one(setting), len(setting.cores)
    first = f"**fanin's race**, {_devices(cores)}"
    group: dict[str, list[Contestant]] = {
        first: [Contestant(f"{MAKERS}FaninRace", sizes, runs, at=every)]
    }
    if cores > 1:
        group["fanin's race, one device"] = [Contestant(f"{MAKERS}FaninRace", sizes, runs, at=one)]
    if has_torch:
        group["PyTorch eager, one run after the other"] = [
            Contestant(f"{MAKERS}TorchEager", sizes, runs, at=one)
        ]
        if cores > 1:
            group[f"PyTorch eager, {cores} processes"] = _in_processes(setting, sizes, runs)
        for threads in sorted({1, cores}):
            at = Place(setting.cores[-threads:], wall=True)
            group[f"torch.func.vmap, {threads} thread{'s' * (threads > 1)}"] = [
                Contestant(f"{MAKERS}TorchVmap", sizes, runs, threads, at=at)
            ]
    gpu = Place(setting.cores, platform="gpu")
    if "jax" in setting.gpus:
        group["fanin's race, GPU"] = [Contestant(f"{MAKERS}FaninRace", sizes, runs, at=gpu)]
    if "torch" in setting.gpus:
        eager = Contestant(f"{MAKERS}TorchEager", sizes, runs, "cuda", at=gpu)
        group["PyTorch eager, GPU"] = [eager]
        group["torch.func.vmap, GPU"] = [
            Contestant(f"{MAKERS}TorchVmap", sizes, runs, cores, "cuda", at=gpu)
        ]
    with closing_all(group):
        times = take_turns(group, setting.rounds, setting.seconds(6.0))
        memory = {name: sum(each.peak for each in several) for name, several in group.items()}
    rows = [
        [name, duration(times.median(name)), f"{times.ratio(name, first):.2f}", megabytes(peak)]
        for name, peak in memory.items()
    ]
    if not has_torch:
        rows.append(["PyTorch: not measured: not installed", None, None, None])
    if not setting.gpus:
        rows.append([f"on a GPU: {NO_GPU}", None, None, None])
    name = "/".join(map(str, sizes))
    header = [f"{name}, {runs} runs", "a step of a run", "÷ fanin's race", "peak memory"]
    return table(header, rows)


def by_runs(
    setting: Setting,
    name: str,
    sizes: Sequence[int],
    runs: Sequence[int],
    has_torch: bool,
) -> str:
    """A step of a run, from few runs to many, each way in a column."""
    cores, gpu = len(setting.cores), Place(setting.cores, platform="gpu")

    def alone(maker: str, *more: Any, at: Place) -> Way:
        return lambda n: [Contestant(f"{MAKERS}{maker}", sizes, n, *more, at=at)]

    ways: dict[str, Way] = {
        f"fanin's race, {_devices(len(at.cores))}": alone("FaninRace", at=at)
        for at in dict.fromkeys((_one(setting), setting.all))
    }
    if "jax" in setting.gpus:
        ways["fanin's race, GPU"] = alone("FaninRace", at=gpu)
    if has_torch:
        ways["PyTorch eager, one after the other"] = alone("TorchEager", at=_one(setting))
        if cores > 1:
            ways[f"PyTorch eager, {cores} processes"] = partial(_in_processes, setting, sizes)
        ways[f"torch.func.vmap, {cores} threads"] = alone("TorchVmap", cores, at=setting.all)
    if "torch" in setting.gpus:
        ways["torch.func.vmap, GPU"] = alone("TorchVmap", cores, "cuda", at=gpu)
    columns = {name: _turns(setting, {str(n): way(n) for n in runs}) for name, way in ways.items()}
    rows = [[n, *(duration(times.median(str(n))) for times in columns.values())] for n in runs]
    return table([f"{name}, runs", *columns], rows)


def _in_processes(setting: Setting, sizes: Sequence[int], runs: int) -> list[Contestant]:
    """PyTorch eager, the runs shared among processes with a core each."""
    share = max(1, runs // len(setting.cores))
    return [
        Contestant(f"{MAKERS}TorchEager", sizes, share, at=Place((core,), wall=True))
        for core in setting.cores
    ]


def _turns(setting: Setting, group: Group) -> Times:
    with closing_all(group):
        return take_turns(group, min(ROUNDS, setting.rounds), setting.seconds(3.0))


def _one(setting: Setting) -> Place:
    """One core by the clock of the wall, as it stands beside several."""
    return replace(setting.one, wall=True)


def _devices(cores: int) -> str:
    return "one device" if cores == 1 else f"{cores} devices"
