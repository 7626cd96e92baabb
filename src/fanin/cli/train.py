"""`fanin train`."""

import math
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, print_json, printable
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, before_leaving, worth_keeping

if TYPE_CHECKING:
    from fanin.model_file import Model
    from fanin.trainer import Run
    from fanin.training import Progress

SCHEMA = "fanin.train/1"
NAMES = 10  # new words at the end of a run

_NETWORK = Group("Network", sort_key=1)
_TRAINING = Group("Training", sort_key=2)
_OUTPUT = Group("Output", sort_key=3)


# The library's own, written once more because their home takes JAX to import; a test compares them.
Schedule = Literal["step", "cosine", "constant"]
OptimiserName = Literal["sgd", "adam", "adamw"]
NormalisationKind = Literal["batch", "layer"]


def sizes(kind: object, tokens: Sequence[Token]) -> tuple[int, ...]:
    text = tokens[0].value
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is no list of sizes; 200 would do, or 100,100") from None


def _rate(kind: Any, tokens: Sequence[Token]) -> float | str:
    text = tokens[0].value
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no learning rate; 0.1 would do, or auto") from None


def start_names(context: object) -> list[str]:
    from fanin.starts import SCHEMES

    return list(SCHEMES)


def activation_names(context: object) -> list[str]:
    from fanin.networks import ACTIVATIONS

    return list(ACTIVATIONS)


def tell_mismatch(start: str | None, network: Any) -> None:
    """Says on standard error where a scheme file was made for another network than this one."""
    from fanin.starts import find_start, is_scheme_file

    if start is not None and is_scheme_file(start):
        tell(find_start(start).mismatch(network))


def tell(sentence: str) -> None:
    """On standard error, if there is something to tell."""
    if sentence:
        print(f"fanin: {printable(sentence)}", file=sys.stderr)


def train(
    words: str | None = None,
    /,
    *,
    start: Annotated[
        str | None, Parameter(group=_NETWORK, completer=start_names, show_default="fanin")
    ] = None,
    embedding: Annotated[int | None, WHOLE, Parameter(group=_NETWORK, show_default="10")] = None,
    block: Annotated[int | None, WHOLE, Parameter(group=_NETWORK, show_default="3")] = None,
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
        str | None,
        Parameter(group=_NETWORK, completer=activation_names, show_default="tanh"),
    ] = None,
    norm: Annotated[
        NormalisationKind | None, Parameter(name=["--norm", "--normalisation"], group=_NETWORK)
    ] = None,
    residual: Annotated[bool, Parameter(group=_NETWORK, negative="")] = False,
    batch: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="32")] = None,
    steps: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="200,000")] = None,
    lr: Annotated[
        float | str | None,
        Parameter(
            group=_TRAINING,
            converter=_rate,
            n_tokens=1,
            metavar="RATE",
            show_default="0.1; 0.001 for adam and adamw",
        ),
    ] = None,
    schedule: Annotated[Schedule | None, Parameter(group=_TRAINING, show_default="step")] = None,
    warm_up: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="0")] = None,
    optimiser: Annotated[
        OptimiserName | None,
        Parameter(name=["--optimiser", "--optimizer"], group=_TRAINING, show_default="sgd"),
    ] = None,
    momentum: Annotated[float | None, Parameter(group=_TRAINING, show_default="0")] = None,
    weight_decay: Annotated[
        float | None, Parameter(group=_TRAINING, show_default="0; 0.01 for adamw")
    ] = None,
    eval_every: Annotated[
        int | None, WHOLE, Parameter(group=_TRAINING, show_default="a fortieth of the steps")
    ] = None,
    seed: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="0")] = None,
    split_seed: Annotated[int | None, WHOLE, Parameter(group=_TRAINING, show_default="0")] = None,
    resume: Annotated[str | None, Parameter(group=_TRAINING, metavar="FILE")] = None,
    save_every: Annotated[int | None, WHOLE, Parameter(group=_OUTPUT, metavar="STEPS")] = None,
    out: Annotated[str | None, Parameter(group=_OUTPUT, show_default="names.safetensors")] = None,
    plot: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    live: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    quiet: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
) -> int:
    """Train a model that makes more words like the ones it is given.

    Ctrl-C ends training early and keeps the model trained so far; the exit code is 130 then.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    start
        fanin, normal, uniform-logits, fan-in, published and more (fanin starts lists them); or a
        scheme file, .json; or a model file to go on from.
    embedding
        Numbers that stand for one symbol.
    block
        Symbols that the next one is guessed from.
    hidden
        Units of each hidden layer: 200 for one layer, 100,100 for two.
    activation
        identity, tanh, relu, gelu, silu, sigmoid, selu; or module:callable.
    norm
        Normalise before each activation: over the batch, or over the layer.
    residual
        Each hidden layer after the first adds to what it reads; all must be of one size.
    batch
        Examples in a step.
    steps
        Steps of training.
    lr
        Learning rate, or auto: what fanin find-lr suggests for this run.
    schedule
        step divides the rate by ten from half way on, cosine lowers it to zero.
    warm_up
        Steps over which the rate rises from zero.
    optimiser
        sgd, adam or adamw.
    momentum
        Share of the last update that sgd keeps.
    weight_decay
        Of sgd and adamw, as PyTorch has it.
    eval_every
        Steps from one dev loss to the next.
    seed
        Decides the start and the batches.
    split_seed
        Decides which words are for training, dev and test.
    resume
        A model file of a run that was stopped, to go on with: all other options come from it, and
        only --steps may be raised. Ends with the same bits as a run that was not stopped.
    save_every
        Write the model file every so many steps, to resume from.
    out
        The model file to write; one that is there is replaced.
    plot
        Picture of the losses to write: .svg or .png.
    json
        One JSON object on standard output, and nothing else there.
    live
        Draw the losses as a curve while training, on a terminal.
    quiet
        No progress on standard error.
    """
    settings = given(
        words=words,
        start=start,
        embedding=embedding,
        block=block,
        hidden=hidden,
        activation=activation,
        normalisation=norm,
        residual=residual or None,
        batch=batch,
        lr=lr,
        schedule=schedule,
        warm_up=warm_up,
        optimiser=optimiser,
        momentum=momentum,
        weight_decay=weight_decay,
        eval_every=eval_every,
        seed=seed,
        split_seed=split_seed,
    )
    if out == "":
        raise OptionError("--out is empty; give a file, or leave it out for names.safetensors")
    out = out or resume or "names.safetensors"
    _check_outputs(out, plot, words=words, start=start or resume)
    run = _new_run(steps, settings) if resume is None else _resumed_run(resume, steps, settings)
    tell_mismatch(start, run.network)
    from fanin.model_file import save_model

    options = run.options
    with _alone_at(out):
        model, seconds = _watch(
            run, save=lambda model: save_model(model, out), every=save_every, live=live, quiet=quiet
        )
        save_model(model, out)
    if model.steps < options.steps:
        done = f"at step {model.steps:,} of {options.steps:,}"
        print(f"fanin: interrupted {done}; the model so far is kept in {out}", file=sys.stderr)
    _tell_of_harm(model, options.rate)
    if plot is not None:
        _draw(model, plot)
    trained = model.steps - run.state.step
    report = _report(model, trained, seconds, out, plot, _new_words(model, options.seed))
    if json:
        print_json(SCHEMA, report)
    else:
        _print_report(report, "names" if words is None else "words")
    return INTERRUPTED if model.steps < options.steps else 0


def _tell_of_harm(model: "Model", rate: float) -> None:
    """A line where a network ends worse than it began, and on which words."""
    initial, train, dev = (model.losses.get(name) for name in ("initial", "train", "dev"))
    if initial is None or dev is None or dev <= max(initial, model.uniform_loss):
        return
    went = f"dev loss went from {initial:.4g} to {dev:.4g}"
    if train is not None and train < min(initial, model.uniform_loss):
        tell(
            f"the network learnt its words by heart: its {went}, and on the words that it is "
            f"trained on it is {train:.4g}; fewer steps or more words would do"
        )
    else:
        tell(
            f"training made the network worse: its {went}; a lower learning rate than {rate:g} "
            "would do"
        )


def _new_run(steps: int | None, asked: dict[str, Any]) -> "Run":
    from fanin.corpus import read_words
    from fanin.trainer import prepare
    from fanin.training import TrainingOptions

    # What is no setting of the training is one of the run: words, start, sizes, the split.
    settings = {
        field.name: asked.pop(field.name)
        for field in fields(TrainingOptions)
        if field.name in asked
    }
    automatic = settings.get("lr") == "auto"
    if automatic:
        del settings["lr"]
    words = asked.pop("words", None)
    run = prepare(
        None if words is None else read_words(words),
        options=TrainingOptions(**settings, **given(steps=steps)),
        **asked,
    )
    if not automatic:
        return run
    run = run.with_found_rate()
    print(f"fanin: the sweep suggests a learning rate of {run.options.rate:g}", file=sys.stderr)
    return run


def _resumed_run(file: str, steps: int | None, asked: dict[str, Any]) -> "Run":
    from fanin.model_file import load_model
    from fanin.resumption import resume, what_raising_does

    activation = asked.pop("activation", None)
    if asked:
        option = "WORDS" if "words" in asked else "--" + next(iter(asked)).replace("_", "-")
        raise OptionError(
            f"{option} and --resume exclude each other: a run goes on with the options in its "
            "file; only --steps may be raised"
        )
    model = load_model(file, activation=activation)
    run = resume(model, steps=steps)
    if note := what_raising_does(model.options, run.options.steps):
        print(f"fanin: {note}", file=sys.stderr)
    return run


def given(**settings: Any) -> dict[str, Any]:
    """Those that the user gave, so that the library's own defaults stand for the others."""
    return {name: setting for name, setting in settings.items() if setting is not None}


def _check_outputs(out: str, plot: str | None, *, words: str | None, start: str | None) -> None:
    """Training on from a model may replace it; all else that is read stays."""
    from fanin.starts import is_scheme_file

    never = [words, start if start is not None and is_scheme_file(start) else None]
    check_outputs([("--out", out), ("--plot", plot)], read=never)
    check_outputs([("--plot", plot)], read=[start])


@contextmanager
def _alone_at(out: str) -> Generator[None]:
    """Two runs that write to one file would each lose what the other did."""
    from fanin.atomic_file import alone_at, reason

    with ExitStack() as stack:
        try:
            beside = stack.enter_context(alone_at(out))
            before_leaving(lambda: beside.unlink(missing_ok=True))
        except BlockingIOError:
            raise OptionError(
                f"--out {out}: another process is training to this file; give another name"
            ) from None
        except OSError as error:
            raise OptionError(f"--out {out}: cannot be written: {reason(error)}") from None
        yield


def _watch(
    run: "Run", *, save: Callable[["Model"], object], every: int | None, live: bool, quiet: bool
) -> tuple["Model", float]:
    """Trains with the progress on standard error; the model, and the seconds that it took."""
    seconds = 0.0

    def note(progress: "Progress") -> None:
        nonlocal seconds
        worth_keeping()
        seconds = progress.seconds
        if display is not None:
            display(progress)

    if quiet:
        display = None
        return run.train(note, save=save, save_every=every), seconds
    from fanin.pictures.progress import TrainingDisplay

    words, network = run.corpus.words, run.network
    print(
        f"{len(words.words):,} words ({printable(words.source)}; {words.duplicates:,} duplicates "
        f"dropped), {network.parameter_count:,} parameters, start {printable(run.start)}",
        file=sys.stderr,
    )
    uniform = math.log(network.vocabulary)
    with TrainingDisplay(run.options.steps, uniform, live=live) as display:
        model = run.train(note, save=save, save_every=every)
    return model, seconds


def _new_words(model: "Model", seed: int) -> list[str]:
    """The closing words. That there are none costs nobody the run and its losses."""
    from fanin.sampling import NoWordsToDraw, new_words

    try:
        names = new_words(model, NAMES, seed=seed)
    except NoWordsToDraw as error:
        print(f"fanin: {error}", file=sys.stderr)
        return []
    if len(names) < NAMES:
        print(
            f"fanin: {len(names)} of {NAMES} new words: what else the model made is in its list or "
            "has no end",
            file=sys.stderr,
        )
    return names


def _draw(model: "Model", path: str) -> None:
    from fanin.pictures.figures import write_figure
    from fanin.pictures.losses import loss_figure

    title = f"{Path(model.words.source).name}, start {model.start}"
    write_figure(loss_figure(model.history, model.uniform_loss, title=title), path, salt="losses")


def _report(
    model: "Model", trained: int, seconds: float, out: str, plot: str | None, names: list[str]
) -> dict[str, Any]:
    network = model.network.describe()
    options: dict[str, Any] = {"words": model.words.source, "start": model.start, **network}
    options["split_seed"] = model.split_seed
    options |= asdict(model.options) | {"lr": model.options.rate}
    return {
        "options": options | {"eval_every": model.options.evaluate_every},
        "uniform_loss": model.uniform_loss,
        **{f"{name}_loss": loss for name, loss in model.losses.items()},
        "steps": model.steps,
        "seconds": seconds,
        "steps_per_second": trained / seconds if seconds else None,
        "words": len(model.words.words),
        "duplicates": model.words.duplicates,
        "vocabulary": len(model.vocabulary),
        "parameters": model.network.parameter_count,
        "file": out,
        "plot": plot,
        "names": names,
    }


def _print_report(report: dict[str, Any], noun: str) -> None:
    print(f"loss in nats per symbol (a blind guess, log V: {report['uniform_loss']:.4f})")
    for label, name in (
        ("at the start", "initial"),
        ("train", "train"),
        ("dev", "dev"),
        ("test", "test"),
    ):
        loss = report[f"{name}_loss"]
        print(f"  {label:<14}{'not measured' if loss is None else f'{loss:.4f}'}")
    speed = report["steps_per_second"]
    rate = f", {speed:,.0f} steps a second" if speed else ""
    print(f"{report['steps']:,} steps in {report['seconds']:.1f} s{rate}")
    files = [report["file"]] + [report["plot"]] * (report["plot"] is not None)
    print(f"written: {', '.join(map(printable, files))}")
    if report["names"]:
        count = len(report["names"])
        print(f"{count} new {noun if count > 1 else noun.removesuffix('s')}:")
    for name in report["names"]:
        print(f"  {printable(name)}")
