"""`fanin race`."""

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, print_json, printable
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
from fanin.cli.train import (
    NormalisationKind,
    OptimiserName,
    Schedule,
    activation_names,
    given,
    sizes,
    start_names,
    tell,
)
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, worth_keeping

if TYPE_CHECKING:
    from fanin.race import Processes, Race, Results, Verdict
    from fanin.race.table import StandingsDocument

SCHEMA = "fanin.race/1"
STEPS = 20_000  # a tenth of a training's: many are compared, and the differences are there by then

_LANES = Group("Lanes", sort_key=1)
_NETWORK = Group("Network", sort_key=2)
_TRAINING = Group("Training", sort_key=3)
_VERDICT = Group("Verdict", sort_key=4)
_CALIBRATION = Group("Calibration", sort_key=6)
_OUTPUT = Group("Output", sort_key=7)


def race(
    words: str | None = None,
    /,
    *,
    start: Annotated[
        tuple[str, ...],
        Parameter(group=_LANES, completer=start_names, negative="", show_default="fanin, normal"),
    ] = (),
    seeds: Annotated[int, WHOLE, Parameter(group=_LANES)] = 32,
    first_seed: Annotated[int, WHOLE, Parameter(group=_LANES)] = 0,
    axis: Annotated[
        tuple[str, ...],
        Parameter(group=_LANES, negative="", metavar="NAME=V,V…", show_default=False),
    ] = (),
    tune_lr: Annotated[bool, Parameter(group=_LANES, negative="")] = False,
    rates: Annotated[str | None, Parameter(group=_LANES, metavar="LR,LR…")] = None,
    tuning_seeds: Annotated[int | None, WHOLE, Parameter(group=_LANES, show_default="3")] = None,
    embedding: Annotated[int | None, WHOLE, Parameter(group=_NETWORK, show_default="10")] = None,
    block: Annotated[int, WHOLE, Parameter(group=_NETWORK)] = 3,
    hidden: Annotated[
        tuple[int, ...] | None,
        Parameter(
            group=_NETWORK,
            converter=sizes,
            n_tokens=1,
            negative="",
            metavar="SIZES",
            show_default="200",
        ),
    ] = None,
    activation: Annotated[
        str | None, Parameter(group=_NETWORK, completer=activation_names, show_default="tanh")
    ] = None,
    normalisation: Annotated[
        NormalisationKind | None, Parameter(name=["--norm", "--normalisation"], group=_NETWORK)
    ] = None,
    residual: Annotated[bool, Parameter(group=_NETWORK, negative="")] = False,
    steps: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="20,000")] = None,
    batch: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="32")] = None,
    lr: Annotated[
        float | None, Parameter(group=_TRAINING, show_default="0.1, or 0.001 for Adam")
    ] = None,
    optimiser: Annotated[
        OptimiserName | None,
        Parameter(name=["--optimiser", "--optimizer"], group=_TRAINING, show_default="sgd"),
    ] = None,
    schedule: Annotated[Schedule | None, Parameter(group=_TRAINING, show_default="step")] = None,
    eval_every: Annotated[
        int | None,
        WHOLE,
        Parameter(group=_TRAINING, show_default="a tenth to a fortieth of the steps"),
    ] = None,
    split_seed: Annotated[int, WHOLE, Parameter(group=_TRAINING)] = 0,
    reference: Annotated[str | None, Parameter(group=_VERDICT, show_default="the first")] = None,
    margin: Annotated[float, Parameter(group=_VERDICT)] = 0.01,
    level: Annotated[float, Parameter(group=_VERDICT)] = 0.95,
    target: Annotated[float | None, Parameter(group=_VERDICT)] = None,
    calibrate: Annotated[bool, Parameter(group=_CALIBRATION, negative="")] = False,
    families: Annotated[int | None, WHOLE, Parameter(group=_CALIBRATION, show_default="32")] = None,
    members: Annotated[int | None, WHOLE, Parameter(group=_CALIBRATION, show_default="64")] = None,
    coordinator: Coordinator = None,
    processes: Count = None,
    process: Number = None,
    wait: Wait = None,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    csv: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    html: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    quiet: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
) -> int:
    """Train many starts side by side with the same seeds, and say which differences are real.

    A seed decides a start's draws and its batches, and all starts share both, so that they are
    compared seed by seed. Ctrl-C gives an interim verdict on dev losses; the exit code is
    130 then, and 1 where one of several processes was lost.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    start
        A start to race, such as fanin, kaiming-normal:gain=1 or a scheme file; once for each.
    seeds
        Runs of each start.
    first_seed
        The first of the seeds; the others follow it.
    axis
        Races every start with each of these values: lr=0.1,0.3 or depth=1,2; once for each axis.
    tune_lr
        Finds each start's learning rate first, with seeds of its own, on dev losses.
    rates
        The rates that tuning tries; left out: from a tenth to ten times the learning rate.
    tuning_seeds
        Runs that tuning makes with each rate.
    embedding
        Numbers that stand for one symbol.
    block
        Symbols that the next one is guessed from.
    hidden
        Units of each hidden layer: 200 for one layer, 100,100 for two.
    activation
        identity, tanh, relu, gelu, silu, sigmoid, selu; or module:callable.
    normalisation
        batch or layer, before each activation.
    residual
        Each hidden layer after the first adds to its input.
    steps
        Steps of each run.
    batch
        Examples in a step.
    lr
        Learning rate.
    optimiser
        sgd, adam or adamw.
    schedule
        step divides the rate by ten from half way on, cosine lowers it to zero.
    eval_every
        Steps from one dev loss to the next.
    split_seed
        Decides which words are for training, dev and test.
    reference
        The name of what the others are compared to.
    margin
        Differences below this, in nats per symbol, count as none.
    level
        The chance that all of the verdicts hold.
    target
        A dev loss: the steps and seconds to it are told.
    calibrate
        Instead of a race: does the verdict of step zero predict training? Judges and trains
        networks at random, 2,000 steps each unless told, and prints a page in Markdown.
    families
        Networks of so many shapes are drawn.
    members
        So many of each shape, with other starts, seeds and rates.
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
        Folder for the record; a race that was begun there goes on.
    csv
        File to write the standings to, a row a start.
    html
        Page to write, with curves and differences.
    json
        One JSON object on standard output, and nothing else there.
    quiet
        No progress on standard error.
    """
    if calibrate:
        from fanin.cli.calibrate import calibrate_and_print, refuse

        refuse(start=start, axis=axis, tune_lr=tune_lr, rates=rates, hidden=hidden)
        refuse(embedding=embedding, activation=activation, normalisation=normalisation)
        refuse(residual=residual, batch=batch, lr=lr, optimiser=optimiser, schedule=schedule)
        refuse(eval_every=eval_every, reference=reference, target=target, csv=csv, html=html)
        refuse(coordinator=coordinator, processes=processes, process=process, wait=wait)
        settings = given(families=families, members=members, steps=steps, seed=first_seed)
        return calibrate_and_print(words, block, split_seed, settings, out, json=json, quiet=quiet)
    for name, value in (("families", families), ("members", members)):
        if value is not None:
            raise OptionError(f"--{name} is for --calibrate; give that too")
    place = place_of(coordinator, processes, process, wait)
    if place is None or place.process == 0:
        check_outputs([("--csv", csv), ("--html", html)], read=[words, *start], folder=out)
    from fanin.race.devices import use_all_cores

    if place is None:  # several come together first
        use_all_cores()  # before anything has made JAX begin
    from fanin.corpus import Corpus, bundled_names, read_words
    from fanin.race import Race, course
    from fanin.training import TrainingOptions

    corpus = Corpus.of(
        bundled_names() if words is None else read_words(words), block=block, split_seed=split_seed
    )
    options = TrainingOptions(
        steps=STEPS if steps is None else steps,
        **given(batch=batch, lr=lr, optimiser=optimiser, schedule=schedule),
    )
    network = given(embedding=embedding, hidden=hidden, activation=activation)
    network |= given(normalisation=normalisation, residual=residual or None)
    lanes = _lanes(start or ("fanin", "normal"), axis, corpus, options, network)
    plan = Race(
        tuple(lanes),
        _seeds(first_seed, seeds),
        corpus,
        _tuning(tune_lr, rates, tuning_seeds, axis),
        eval_every,
    )
    _check_verdict(plan, reference, margin, level, target)
    for sentence in dict.fromkeys(lane.start.mismatch(lane.network) for lane in lanes):
        tell(sentence)
    team = come_together(place, wait, quiet=quiet)
    if team.index > 0:
        return help_along(course(plan, processes=team), team)
    results, code = _watch(plan, out, team, quiet=quiet)
    if not results.measured:
        return code
    verdict = results.judge(reference=reference, margin=margin, level=level)
    document = results.document(verdict, target=target)
    _write(results, verdict, document, csv, html)
    if json:
        _print_json(document, results, out, csv, html)
    else:
        _print_table(document, [path for path in (csv, html) if path is not None])
    return code


def _lanes(
    starts: tuple[str, ...],
    axes: tuple[str, ...],
    corpus: Any,
    options: Any,
    settings: dict[str, Any],
) -> list[Any]:
    from fanin.networks import CharacterMLP
    from fanin.race import Lane, with_axis
    from fanin.starts import find_start

    network = CharacterMLP(len(corpus.vocabulary), block=corpus.block, **settings)
    schemes = [find_start(name) for name in starts]
    lanes = [Lane(scheme.name, network, scheme, options) for scheme in schemes]
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not equals:
            raise OptionError(f"--axis {axis}: give its values, {axis}=…,…")
        lanes = with_axis(lanes, name, [value for value in values.split(",") if value])
    return lanes


def _seeds(first: int, count: int) -> tuple[int, ...]:
    if not 1 <= count <= 100_000:
        raise OptionError(f"--seeds {count}: give from 1 to 100,000")
    return tuple(range(first, first + count))


def _tuning(wanted: bool, rates: str | None, seeds: int | None, axes: tuple[str, ...]) -> Any:
    from fanin.race import Tuning
    from fanin.race.plan import FIRST_TUNING_SEED

    if not wanted:
        if rates is not None:
            raise OptionError("--rates are for tuning; give --tune-lr too, or --axis lr=…")
        if seeds is not None:
            raise OptionError("--tuning-seeds are for tuning; give --tune-lr too")
        return None
    seeds = 3 if seeds is None else seeds
    if any(axis.partition("=")[0] == "lr" for axis in axes):
        raise OptionError("--tune-lr chooses the rates of --axis lr=… anew; give one of the two")
    try:
        grid = tuple(float(rate) for rate in rates.split(",")) if rates else ()
    except ValueError:
        raise OptionError(f"--rates {rates}: give numbers, such as 0.03,0.1,0.3") from None
    if not 1 <= seeds <= 1_000:
        raise OptionError(f"--tuning-seeds {seeds}: give from 1 to 1,000")
    return Tuning(grid, tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + seeds)))


def _check_verdict(
    plan: "Race", reference: str | None, margin: float, level: float, target: float | None
) -> None:
    """Asks for a verdict on nothing, which complains of what would be wrong with the real one."""
    from fanin.race import judge

    if target is not None and not 0 <= target < math.inf:
        raise OptionError(f"--target {target}: give a dev loss, such as 2.2")
    nothing = {lane.name: [None] for lane in plan.lanes}
    judge(nothing, uniform_loss=plan.uniform_loss, reference=reference, margin=margin, level=level)


def _watch(
    plan: "Race", out: str | None, team: "Processes", *, quiet: bool
) -> tuple["Results", int]:
    """Races with the progress on standard error; the exit code, by which it is through or not."""
    from contextlib import closing, nullcontext

    from fanin.pictures.race_progress import RaceDisplay
    from fanin.race import ProcessLost, Results, course
    from fanin.race.events import Resumed

    results = Results(plan)
    try:
        # Closed at the end, so that the record is whole on the disk before anything is printed.
        with team, closing(course(plan, out, processes=team)) as events:
            results.add(next(events))  # the opening: from here on the folder is known to do
            if not quiet:
                print(_introduction(plan), file=sys.stderr)
            with nullcontext() if quiet else RaceDisplay(results) as display:
                for event in events:
                    results.add(event)
                    if results.measured:
                        worth_keeping()
                    if isinstance(event, Resumed) and event.dropped:
                        print(f"fanin: {printable(event.dropped)}", file=sys.stderr)
                    if display is not None:
                        display.update()
    except KeyboardInterrupt:
        if not results.measured:
            raise
        print(f"fanin: interrupted at step {results.step:,} of {plan.steps:,}", file=sys.stderr)
        return results, INTERRUPTED
    except ProcessLost as lost:
        print(f"fanin: {printable(str(lost))}", file=sys.stderr)
        return results, LOST
    for name, tuned in results.at_edge().items():
        print(
            f"fanin: the best rate of {printable(name)}, {tuned.rate:g}, is at the edge of its "
            "grid; one beyond it may be better (--rates)",
            file=sys.stderr,
        )
    return results, 0


def _introduction(plan: "Race") -> str:
    from fanin.race.wording import counted

    words = plan.corpus.words
    return (
        f"{len(words.words):,} words ({printable(words.source)}; {words.duplicates:,} duplicates "
        f"dropped), {counted(len(plan.lanes), 'start')} × {counted(len(plan.seeds), 'seed')}, "
        f"{plan.steps:,} steps each"
    )


def _write(
    results: "Results",
    verdict: "Verdict",
    document: "StandingsDocument",
    csv: str | None,
    html: str | None,
) -> None:
    from fanin.atomic_file import reason, write_atomically
    from fanin.race import to_csv

    contents: dict[str, bytes] = {}
    if csv is not None:
        contents[csv] = to_csv(document).encode()
    if html is not None:
        from fanin.pictures.race_page import race_page

        contents[html] = race_page(results, document).encode()
    for path, content in contents.items():
        try:
            write_atomically(path, content)
        except OSError as error:
            raise OptionError(f"{path}: cannot be written: {reason(error)}") from error


def _print_json(
    document: "StandingsDocument",
    results: "Results",
    out: str | None,
    csv: str | None,
    html: str | None,
) -> None:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(document)
    del fields["schema"]
    fields |= {
        "options": results.plan.opening().options,
        "tile": results.tile,
        "machines": msgspec.to_builtins(results.machines),
        "folder": out,
        "csv": csv,
        "html": html,
    }
    print_json(SCHEMA, fields)


def _print_table(document: "StandingsDocument", written: list[str]) -> None:
    from fanin.pictures.race_table import race_table

    print(race_table(document))
    if written:
        print(f"written: {', '.join(map(printable, written))}")
