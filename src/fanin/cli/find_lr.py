"""`fanin find-lr`."""

import sys
from typing import Annotated

from cyclopts import Parameter

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, print_json
from fanin.cli.train import (
    NormalisationKind,
    OptimiserName,
    activation_names,
    given,
    sizes,
    start_names,
    tell_mismatch,
)

SCHEMA = "fanin.find-lr/1"


def find_lr(
    words: str | None = None,
    /,
    *,
    start: Annotated[str | None, Parameter(completer=start_names, show_default="fanin")] = None,
    embedding: Annotated[int | None, WHOLE, Parameter(show_default="10")] = None,
    block: Annotated[int | None, WHOLE, Parameter(show_default="3")] = None,
    hidden: Annotated[
        tuple[int, ...] | None,
        Parameter(converter=sizes, n_tokens=1, negative="", metavar="SIZES", show_default="200"),
    ] = None,
    activation: Annotated[
        str | None, Parameter(completer=activation_names, show_default="tanh")
    ] = None,
    norm: Annotated[NormalisationKind | None, Parameter(name=["--norm", "--normalisation"])] = None,
    residual: Annotated[bool, Parameter(negative="")] = False,
    batch: Annotated[int | None, WHOLE, Parameter(show_default="32")] = None,
    optimiser: Annotated[
        OptimiserName | None,
        Parameter(name=["--optimiser", "--optimizer"], show_default="sgd"),
    ] = None,
    momentum: Annotated[float | None, Parameter(show_default="0")] = None,
    weight_decay: Annotated[float | None, Parameter(show_default="0; 0.01 for adamw")] = None,
    seed: Annotated[int | None, WHOLE, Parameter(show_default="0")] = None,
    split_seed: Annotated[int | None, WHOLE, Parameter(show_default="0")] = None,
    lowest: Annotated[float | None, Parameter(show_default="0.0001")] = None,
    highest: Annotated[float | None, Parameter(show_default="10")] = None,
    steps: Annotated[int | None, WHOLE, Parameter(show_default="1,000")] = None,
    plot: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Find a learning rate: train a copy with rates that rise from step to step.

    Each loss is that after the step with its rate, on the same examples each time; the network
    that is started stays as it is, and no file but the picture is written.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    start
        A start by name, a scheme file or a model file.
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
        Each hidden layer after the first adds to what it reads.
    batch
        Examples in a step.
    optimiser
        sgd, adam or adamw.
    momentum
        Share of the last update that sgd keeps.
    weight_decay
        Of sgd and adamw.
    seed
        Decides the start and the batches.
    split_seed
        Decides which words are for training.
    lowest
        The first rate.
    highest
        The last rate, unless the loss has gone to ruin before.
    steps
        Steps of the sweep.
    plot
        Picture of the sweep to write: .svg or .png.
    json
        One JSON object on standard output, and nothing else there.
    """
    check_outputs([("--plot", plot)], read=[words, start])
    from fanin.corpus import read_words
    from fanin.trainer import prepare
    from fanin.training import TrainingOptions, find_learning_rate

    settings = given(
        batch=batch, optimiser=optimiser, momentum=momentum, weight_decay=weight_decay, seed=seed
    )
    run = prepare(
        None if words is None else read_words(words),
        options=TrainingOptions(**settings),
        **given(
            start=start,
            embedding=embedding,
            block=block,
            hidden=hidden,
            activation=activation,
            normalisation=norm,
            residual=residual or None,
            split_seed=split_seed,
        ),
    )
    tell_mismatch(start, run.network)
    search = find_learning_rate(
        run.network,
        run.state.parameters,
        run.corpus,
        run.options,
        **given(lowest=lowest, highest=highest, steps=steps),
    )
    if plot is not None:
        from fanin.pictures.figures import write_figure
        from fanin.pictures.rates import rate_figure

        write_figure(rate_figure(search, title=f"start {run.start}"), plot, salt="rates")
    helped = search.smoothed.min() < search.first_loss
    if search.at_edge and helped:
        print(
            "fanin: the highest rate tried was the best; a higher --highest may do better",
            file=sys.stderr,
        )
    if json:
        fields = {
            "start": run.start,
            "suggestion": search.suggestion if helped else None,
            "best_rate": search.best_rate,
            "first_loss": search.first_loss,
            "best_loss": float(search.smoothed.min()),
            "at_edge": search.at_edge,
            "rates": search.rates.tolist(),
            "losses": search.losses.tolist(),
            "smoothed": search.smoothed.tolist(),
            "plot": plot,
        }
        print_json(SCHEMA, fields)
        return 0
    if helped:
        print(f"suggested learning rate: {search.suggestion:g}")
    else:
        print("no rate lowered the loss, so that none is suggested; fanin diagnose may tell why")
    print(
        f"loss {search.first_loss:.4f} before the sweep, {search.smoothed.min():.4f} at its best, "
        f"at a rate of {search.best_rate:.3g}; the sweep ended at {search.rates[-1]:.3g}"
    )
    return 0
