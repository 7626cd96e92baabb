"""The time of a map's cell: trained for some steps, or looked at before the first.

`fanin.map.explore` on a map of gain and depth, on all cores; what is counted is cells.
"""

from benchmarks.contest import Contestant, Place, closing_all, take_turns
from benchmarks.setting import NO_GPU, Setting, duration, megabytes, table

SIDE, STEPS = 8, 100


class FaninMap:
    """Maps of one size again and again, so that what is compiled is compiled once."""

    def __init__(self, side: int, measure: str, steps: int) -> None:
        from fanin.corpus import Corpus, bundled_names
        from fanin.map import Map, read_axis

        axes = read_axis(f"gain=0.2:4:{side}"), read_axis(f"depth=1:20:{side}")
        corpus = Corpus.of(bundled_names())
        self.plan = Map(*axes, corpus, measure=measure, steps=steps)
        self.chunk = side * side

    def run(self, count: int) -> None:
        from fanin.map import explore

        for _ in range(count // self.chunk):
            assert sum(1 for _ in explore(self.plan)) == self.chunk


def measure(setting: Setting) -> str:
    side, steps = (3, 2) if setting.quick else (SIDE, STEPS)
    kinds = {f"trained for {steps} steps": "trained", "looked at": "gradient-ratio"}
    places = {"": setting.all}
    if "jax" in setting.gpus:
        places[", GPU"] = Place(setting.cores, platform="gpu")
    group = {
        f"{kind}{suffix}": [Contestant("benchmarks.maps:FaninMap", side, measured, steps, at=place)]
        for kind, measured in kinds.items()
        for suffix, place in places.items()
    }
    with closing_all(group):
        times = take_turns(group, min(3, setting.rounds), setting.seconds(9.0))
        rows = [
            [
                name,
                duration(times.median(name)),
                duration(each.first - side * side * times.median(name)),
                megabytes(each.peak),
            ]
            for name, (each,) in group.items()
        ]
    if "jax" not in setting.gpus:
        rows.append([f"on a GPU: {NO_GPU}", None, None, None])
    name = f"{side} × {side} cells of gain and depth 1 to 20, width 100"
    return table([name, "a cell", "to compile, once", "peak memory"], rows)
