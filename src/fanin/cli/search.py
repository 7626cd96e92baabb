"""`fanin search`."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter, Token

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, print_json, printable
from fanin.cli.train import OptimiserName, Schedule, given, sizes, start_names
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, worth_keeping

if TYPE_CHECKING:
    from fanin.search import Search, SearchResults
    from fanin.search.results import Compared

SCHEMA = "fanin.search/1"
STEPS = 20_000  # as in a race

_SEARCH = Group("Search", sort_key=1)
_NETWORK = Group("Network", sort_key=2)
_TRAINING = Group("Training", sort_key=3)
_CHECK = Group("Check", sort_key=4)
_OUTPUT = Group("Output", sort_key=5)


def _names(kind: object, tokens: Sequence[Token]) -> tuple[str, ...]:
    names = [part.strip() for token in tokens for part in token.value.split(",")]
    if not all(names):
        raise ValueError(f"{tokens[-1].value!r} is no list of names; tanh,relu would do")
    return tuple(names)


def search(
    words: str | None = None,
    /,
    *,
    budget: Annotated[int, WHOLE, Parameter(group=_SEARCH, metavar="RUNS")] = 200,
    candidates: Annotated[
        int | None, WHOLE, Parameter(group=_SEARCH, show_default="as many as the budget allows")
    ] = None,
    start: Annotated[
        tuple[str, ...],
        Parameter(group=_SEARCH, completer=start_names, negative="", show_default="all by name"),
    ] = (),
    activation: Annotated[
        tuple[str, ...],
        Parameter(group=_SEARCH, converter=_names, n_tokens=1, negative="", metavar="NAME,NAME…"),
    ] = ("tanh", "relu", "gelu", "silu"),
    norm: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--norm", "--normalisation"],
            group=_SEARCH,
            converter=_names,
            n_tokens=1,
            negative="",
            metavar="KIND,KIND…",
        ),
    ] = ("none", "batch", "layer"),
    within: Annotated[float, Parameter(group=_SEARCH)] = 5.0,
    rung_seeds: Annotated[int, WHOLE, Parameter(group=_SEARCH)] = 2,
    seed: Annotated[int, WHOLE, Parameter(group=_SEARCH)] = 0,
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
    residual: Annotated[bool, Parameter(group=_NETWORK, negative="")] = False,
    steps: Annotated[int, WHOLE, Parameter(group=_TRAINING, show_default="20,000")] = STEPS,
    batch: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="32")] = None,
    lr: Annotated[
        float | None, Parameter(group=_TRAINING, show_default="0.1, or 0.001 for Adam")
    ] = None,
    fixed_lr: Annotated[bool, Parameter(group=_TRAINING, negative="")] = False,
    optimiser: Annotated[
        OptimiserName | None,
        Parameter(name=["--optimiser", "--optimizer"], group=_TRAINING, show_default="sgd"),
    ] = None,
    schedule: Annotated[Schedule | None, Parameter(group=_TRAINING, show_default="step")] = None,
    split_seed: Annotated[int, WHOLE, Parameter(group=_TRAINING)] = 0,
    seeds: Annotated[int, WHOLE, Parameter(group=_CHECK)] = 16,
    first_seed: Annotated[int, WHOLE, Parameter(group=_CHECK)] = 0,
    rates: Annotated[
        str | None,
        Parameter(group=_CHECK, metavar="LR,LR…", show_default="0.2 to 5 times the learning rate"),
    ] = None,
    tuning_seeds: Annotated[int | None, WHOLE, Parameter(group=_CHECK, show_default="2")] = None,
    margin: Annotated[float, Parameter(group=_CHECK)] = 0.01,
    level: Annotated[float, Parameter(group=_CHECK)] = 0.95,
    scheme: Annotated[str, Parameter(group=_OUTPUT, metavar="FILE")] = "found.json",
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    plot: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    quiet: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
) -> int:
    """Search for a start by races, and check the winner against fanin.

    Many candidates train for a short time, the best third goes on to trainings three times as
    long, up to full length; dev losses decide. The winner is then raced against fanin on test, with
    seeds that were not used before, and written as a scheme file for --start. Ctrl-C tells how the
    search stands; the exit code is 130 then.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    budget
        What search and check may cost, in runs: one network trained for all the steps. Shorter
        trainings count for their share.
    candidates
        How many to try.
    start
        A start, or a scheme file, to try first; once for each.
    activation
        Activations to try, the first one that of the reference; also module:callable.
    norm
        Normalisations to try: none, batch, layer; the first one that of the reference.
    within
        Gains, deviations and learning rates are drawn within this factor of those of fanin.
    rung_seeds
        Runs of each candidate on each rung.
    seed
        Decides the candidates and the seeds that they are compared with.
    embedding
        Numbers that stand for one symbol.
    block
        Symbols that the next one is guessed from.
    hidden
        Units of each hidden layer: 200 for one layer, 100,100 for two.
    residual
        Each hidden layer after the first adds to its input.
    steps
        Steps of a run.
    batch
        Examples in a step.
    lr
        Learning rate, around which others are drawn and tuned.
    fixed_lr
        All train at that rate, in the search and in the check.
    optimiser
        sgd, adam or adamw.
    schedule
        step divides the rate by ten from half way on, cosine lowers it to zero.
    split_seed
        Decides which words are for training, dev and test.
    seeds
        Runs of each side of the check.
    first_seed
        The first of the seeds of the check; the others follow it.
    rates
        The rates that both sides of the check tune on.
    tuning_seeds
        Runs with each of these rates.
    margin
        Differences below this, in nats per symbol, count as none.
    level
        The chance that all verdicts of the check hold.
    scheme
        The scheme file to write; one that is there is replaced.
    out
        Folder for the record; a search that was begun there goes on.
    plot
        Picture of the first rung to write, losses by gain of each role: .svg or .png.
    json
        One JSON object on standard output, and nothing else there.
    quiet
        No progress on standard error.
    """
    if fixed_lr and tuning_seeds is not None:
        raise OptionError("--tuning-seeds are for tuning, and --fixed-lr leaves rates fixed")
    check_outputs([("--scheme", scheme), ("--plot", plot)], read=[words, *start], folder=out)
    from fanin.race.devices import use_all_cores

    use_all_cores()  # before anything has made JAX begin
    from fanin.corpus import Corpus, bundled_names, read_words
    from fanin.networks import CharacterMLP
    from fanin.search import Search
    from fanin.starts import find_start
    from fanin.training import TrainingOptions

    corpus = Corpus.of(
        bundled_names() if words is None else read_words(words), block=block, split_seed=split_seed
    )
    network = given(embedding=embedding, hidden=hidden, residual=residual or None)
    plan = Search(
        corpus,
        budget,
        CharacterMLP(len(corpus.vocabulary), block=block, **network),
        TrainingOptions(
            steps=steps, **given(batch=batch, lr=lr, optimiser=optimiser, schedule=schedule)
        ),
        tuple(map(find_start, start)) or None,
        activation,
        _normalisations(norm),
        candidates,
        rung_seeds,
        _seeds(first_seed, seeds),
        fixed_lr,
        _rates(rates),
        within=within,
        seed=seed,
        **given(tuning_seeds=tuning_seeds),
    )
    _check_verdict(margin, level)
    results, interrupted = _watch(plan, out, quiet=quiet)
    compared = results.compared(margin=margin, level=level)
    found = results.scheme(compared)
    if found is not None:
        from fanin.starts import save_scheme

        save_scheme(found, scheme)
    _draw(results, plot)
    command = None if found is None else _command(results, words, scheme)
    if json:
        written = {"scheme": scheme if found else None, "plot": plot, "folder": out}
        fields = results.document(compared) | {"interim": interrupted} | written
        print_json(SCHEMA, fields | {"command": command})
    else:
        _print(results, compared, [*[scheme] * bool(found), *given(plot=plot).values()], command)
    return INTERRUPTED if interrupted else 0


def _normalisations(names: tuple[str, ...]) -> tuple[Any, ...]:
    for name in names:
        if name not in ("none", "batch", "layer"):
            raise OptionError(f"--norm {name}: normalisations are none, batch and layer")
    return tuple(None if name == "none" else name for name in names)


def _seeds(first: int, count: int) -> tuple[int, ...]:
    if not 2 <= count <= 100_000:
        raise OptionError(f"--seeds {count}: give from 2 to 100,000, for a verdict")
    return tuple(range(first, first + count))


def _rates(rates: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(rate) for rate in rates.split(",")) if rates else ()
    except ValueError:
        raise OptionError(f"--rates {rates}: give numbers, such as 0.03,0.1,0.3") from None


def _check_verdict(margin: float, level: float) -> None:
    """Asks for a verdict on nothing, which complains of what would be wrong with the real one."""
    from fanin.race import judge

    judge({"": [None]}, uniform_loss=1.0, margin=margin, level=level)


def _watch(plan: "Search", out: str | None, *, quiet: bool) -> tuple["SearchResults", bool]:
    """Searches with the progress on standard error; whether it was interrupted."""
    from contextlib import closing, nullcontext

    from fanin.pictures.search_progress import SearchDisplay
    from fanin.search import SearchResults, seek

    results = SearchResults(plan)
    if not quiet:
        print(_introduction(plan), file=sys.stderr)
    try:
        with (
            closing(seek(plan, out)) as events,
            nullcontext() if quiet else SearchDisplay(results) as display,
        ):
            for event in events:
                results.add(event)
                if results.rungs or results.interim_check:
                    worth_keeping()
                if display is not None:
                    display.update()
    except KeyboardInterrupt:
        if not results.rungs and not results.interim_check:
            raise
        print(
            f"fanin: interrupted after {results.spent:,.1f} of {plan.budget:,} runs",
            file=sys.stderr,
        )
        return results, True
    return results, False


def _introduction(plan: "Search") -> str:
    words = plan.corpus.words
    return (
        f"{len(words.words):,} words ({printable(words.source)}; {words.duplicates:,} duplicates "
        f"dropped), {len(plan.pool):,} candidates on {len(plan.rungs)} rungs, "
        f"{plan.budget:,} runs of {plan.options.steps:,} steps at most"
    )


def _draw(results: "SearchResults", plot: str | None) -> None:
    if plot is None or not results.rungs:
        return
    from fanin.pictures.figures import write_figure
    from fanin.pictures.search_figure import search_figure

    write_figure(search_figure(results), plot, salt="search")


def _command(results: "SearchResults", words: str | None, scheme: str) -> str:
    """How to train what was found as it was checked."""
    from fanin.networks import CharacterMLP
    from fanin.networks.activations import activation_name
    from fanin.training import TrainingOptions

    plan, winner = results.plan, results.winner
    assert winner is not None
    network, options, ordinary = winner.network, plan.options, TrainingOptions()
    usual = CharacterMLP(network.vocabulary)
    parts: list[Any] = ["fanin", "train", *[words] * (words is not None), "--start", scheme]
    if activation_name(network.activation) != usual.activation:
        parts += ["--activation", activation_name(network.activation)]
    if network.normalisation is not None:
        parts += ["--norm", network.normalisation]
    if network.hidden != usual.hidden:
        parts += ["--hidden", ",".join(map(str, network.hidden))]
    for name in ("embedding", "block"):
        if getattr(network, name) != getattr(usual, name):
            parts += [f"--{name}", getattr(network, name)]
    parts += ["--residual"] * network.residual
    for name in ("optimiser", "batch", "schedule", "steps"):
        if getattr(options, name) != getattr(ordinary, name):
            parts += [f"--{name}", getattr(options, name)]
    if plan.corpus.split_seed:
        parts += ["--split-seed", plan.corpus.split_seed]
    return shlex.join([*map(str, parts), "--lr", f"{results.rate:g}"])


def _print(
    results: "SearchResults",
    compared: "Sequence[Compared]",
    written: list[str],
    command: str | None,
) -> None:
    from fanin.pictures.search_table import search_table

    print(search_table(results, compared))
    if written:
        print(f"written: {', '.join(map(printable, written))}")
    if command is not None:
        print(f"\n  {printable(command)}")
