"""`fanin map`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from fanin.cli.files import check_outputs
from fanin.cli.output import print_json, printable
from fanin.cli.together import (
    LOST,
    Coordinator,
    Count,
    Number,
    Wait,
    come_together,
    help_along,
    place_of,
)
from fanin.cli.train import NormalisationKind, activation_names, given
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, worth_keeping

if TYPE_CHECKING:
    from fanin.map import Map, MapResults
    from fanin.race import Processes

SCHEMA = "fanin.map/1"

_AXES = Group("Axes", sort_key=1)
_CELL = Group("Cell", sort_key=2)
_TRAINING = Group("Training", sort_key=3)
_OUTPUT = Group("Output", sort_key=6)


def map_(
    words: str | None = None,
    /,
    *,
    x: Annotated[
        str, Parameter(group=_AXES, metavar="AXIS=START:STOP:COUNT[:log]")
    ] = "gain=0.2:4:40",
    y: Annotated[
        str, Parameter(group=_AXES, metavar="AXIS=START:STOP:COUNT[:log]")
    ] = "depth=1:60:40",
    measure: Annotated[str, Parameter(group=_AXES)] = "trained",
    activation: Annotated[str, Parameter(group=_CELL, completer=activation_names)] = "tanh",
    normalisation: Annotated[
        NormalisationKind | None, Parameter(name=["--norm", "--normalisation"], group=_CELL)
    ] = None,
    residual: Annotated[bool, Parameter(group=_CELL, negative="")] = False,
    gain: Annotated[
        float | None, Parameter(name=["--gain", "--sigma-w"], group=_CELL, show_default="1")
    ] = None,
    sigma_b: Annotated[float | None, Parameter(group=_CELL, show_default="√0.05")] = None,
    depth: Annotated[int | None, Parameter(group=_CELL, show_default="10")] = None,
    width: Annotated[int | None, Parameter(group=_CELL, show_default="100")] = None,
    embedding: Annotated[int, Parameter(group=_CELL)] = 10,
    block: Annotated[int, Parameter(group=_CELL)] = 3,
    steps: Annotated[int | None, Parameter(group=_TRAINING, show_default="300")] = None,
    batch: Annotated[int | None, Parameter(group=_TRAINING, show_default="32")] = None,
    lr: Annotated[float | None, Parameter(group=_TRAINING, show_default="0.1")] = None,
    seed: Annotated[int, Parameter(group=_TRAINING)] = 0,
    split_seed: Annotated[int, Parameter(group=_TRAINING)] = 0,
    coordinator: Coordinator = None,
    processes: Count = None,
    process: Number = None,
    wait: Wait = None,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    plot: Annotated[
        tuple[str, ...], Parameter(group=_OUTPUT, negative="", show_default=False)
    ] = (),
    data: Annotated[
        tuple[str, ...], Parameter(group=_OUTPUT, negative="", show_default=False)
    ] = (),
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    quiet: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
) -> int:
    """Train a network in every cell of two axes, and paint where networks can be trained.

    All cells have the same draws and batches. Over a map with depth upwards theory draws how deep
    signals and gradients reach. Ctrl-C writes what is there; the exit code is 130 then, and 1
    where one of several processes was lost.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    x
        The axis to the right: gain, sigma_w, sigma_b, depth, width or lr, with so many values.
    y
        The axis upwards.
    measure
        trained, or without training: gradient-ratio, saturation, correlation.
    activation
        identity, tanh, relu, gelu, silu, sigmoid, selu; or module:callable.
    normalisation
        batch or layer, before each activation.
    residual
        Each hidden layer after the first adds to its input.
    gain
        The weights' standard deviation times √fan-in, in all hidden layers.
    sigma_b
        The biases' standard deviation.
    depth
        Hidden layers.
    width
        Units of a hidden layer.
    embedding
        Numbers that stand for one symbol.
    block
        Symbols that the next one is guessed from.
    steps
        Steps of each cell.
    batch
        Examples in a step.
    lr
        Learning rate.
    seed
        Decides the draws and the batches.
    split_seed
        Decides which words are for training and dev.
    coordinator
        Address of process 0's machine and a free port (the next one is used too), where several
        processes share the work. In Slurm, Open MPI and the like none of these options is needed.
    processes
        So many processes.
    process
        This one's number, from 0; process 0 has the record and the results.
    wait
        Seconds that processes wait for each other at the beginning.
    out
        Folder for the record; a map that was begun there goes on.
    plot
        File to draw to, .svg or .png; redrawn as the map becomes finer. Once for each.
    data
        File to write the numbers to, .csv or .npz; once for each.
    json
        One JSON object on standard output, and nothing else there.
    quiet
        No progress on standard error.
    """
    place = place_of(coordinator, processes, process, wait)
    if place is None or place.process == 0:
        _check_outputs(plot, data, words, out)
    from fanin.race.devices import use_all_cores

    if place is None:  # several come together first
        use_all_cores()  # before anything has made JAX begin
    from fanin.corpus import Corpus, bundled_names, read_words
    from fanin.map import MEASURES, Cell, Map, explore, read_axis

    axes = read_axis(x), read_axis(y)
    settings = given(gain=gain, sigma_b=sigma_b, depth=depth, width=width, lr=lr)
    for option, axis in (("--x", axes[0]), ("--y", axes[1])):
        if axis.setting in settings:
            raise OptionError(f"{axis.setting} is the axis {option} and an option; give it once")
    training = given(steps=steps, batch=batch)
    if measure in MEASURES and measure != "trained" and (training or "lr" in settings):
        option = next(iter({**training, **given(lr=lr)}))
        raise OptionError(
            f"--{option} is of training, and {measure} is measured before the first step; leave it "
            "out, or take --measure trained"
        )
    cell = Cell(**settings)
    corpus = Corpus.of(
        bundled_names() if words is None else read_words(words), block=block, split_seed=split_seed
    )
    plan = Map(
        *axes,
        corpus,
        cell,
        measure=measure,
        activation=activation,
        normalisation=normalisation,
        residual=residual,
        embedding=embedding,
        seed=seed,
        **training,
    )
    team = come_together(place, wait, quiet=quiet)
    if team.index > 0:
        return help_along(explore(plan, processes=team), team)
    results, code = _watch(plan, out, plot, team, quiet=quiet)
    _write(results, plot, data)
    if json:
        options = plan.options()
        fields = results.document() | {"options": options, "folder": out}
        print_json(SCHEMA, fields | {"plots": list(plot), "data": list(data)})
    else:
        _print(results, [*plot, *data])
    return code


def _check_outputs(
    plots: tuple[str, ...], data: tuple[str, ...], words: str | None, out: str | None
) -> None:
    for path in data:
        if Path(path).suffix.lower() not in (".csv", ".npz"):
            raise OptionError(f"--data {path}: numbers are written as .csv or .npz")
    written = [*[("--plot", path) for path in plots], *[("--data", path) for path in data]]
    check_outputs(written, read=[words], folder=out)


def _watch(
    plan: "Map", out: str | None, plots: tuple[str, ...], team: "Processes", *, quiet: bool
) -> tuple["MapResults", int]:
    """Computes with the progress on standard error; the exit code, by which it is whole or not."""
    from contextlib import closing, nullcontext

    from fanin.map import MapResults, explore
    from fanin.pictures.map_progress import MapDisplay
    from fanin.race import ProcessLost

    results = MapResults(plan)
    drawn = max(4, results.done.size // 16)
    try:
        with (
            team,
            closing(explore(plan, out, processes=team)) as cells,
            nullcontext() if quiet else MapDisplay(results) as display,
        ):
            for cell in cells:
                results.add(cell)
                worth_keeping()
                if display is not None:
                    display.update()
                done = int(results.done.sum())
                if drawn <= done < results.done.size:
                    # As each level of refinement has four times the cells.
                    drawn = 4 * done
                    _write(results, plots, ())
    except KeyboardInterrupt:
        if not results.done.any():
            raise
        count, cells = int(results.done.sum()), results.done.size
        print(f"fanin: interrupted at {count:,} of {cells:,} cells", file=sys.stderr)
        return results, INTERRUPTED
    except ProcessLost as lost:
        print(f"fanin: {printable(str(lost))}", file=sys.stderr)
        return results, LOST
    return results, 0


def _write(results: "MapResults", plots: tuple[str, ...], data: tuple[str, ...]) -> None:
    from fanin.atomic_file import reason, write_atomically

    if plots:
        from fanin.pictures.figures import write_figure
        from fanin.pictures.map_figure import map_figure

        for path in plots:
            write_figure(map_figure(results), path, salt="map")
    for path in data:
        is_csv = Path(path).suffix.lower() == ".csv"
        try:
            write_atomically(path, results.to_csv().encode() if is_csv else results.to_npz())
        except OSError as error:
            raise OptionError(f"{path}: cannot be written: {reason(error)}") from error


def _print(results: "MapResults", written: list[str]) -> None:
    import numpy as np

    values = results.values[results.done]
    finite = values[np.isfinite(values)]
    plan = results.plan
    print(f"{plan.measure} over {plan.x.name} and {plan.y.name}: {results.done.sum():,} cells")
    if finite.size:
        print(f"from {finite.min():.3g} to {finite.max():.3g}, median {np.median(finite):.3g}")
    if plan.measure == "trained":
        print(f"half or more is learnt in {(values >= 0.5).mean():.0%} of them")
    for name, agreement in results.agreement().items():
        if agreement.rank is None:
            continue
        found: list[Any] = [f"rank correlation {agreement.rank:.2f} ({agreement.columns} columns)"]
        if agreement.logarithms is not None:
            found.append(
                f"of logarithms {agreement.logarithms:.2f} ({agreement.within} within the map)"
            )
        print(f"boundary of 50 % and {name}: {', '.join(found)}")
    if written:
        print(f"written: {', '.join(map(printable, written))}")
