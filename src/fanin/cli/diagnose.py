"""`fanin diagnose`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from fanin.cli.files import check_outputs
from fanin.cli.output import WHOLE, printable
from fanin.cli.train import (
    NormalisationKind,
    OptimiserName,
    activation_names,
    given,
    sizes,
    start_names,
    tell_mismatch,
)
from fanin.errors import OptionError

if TYPE_CHECKING:
    from fanin.diagnosis import Report
    from fanin.trainer import Run

FAILED = 1

_NETWORK = Group("Network", sort_key=1)
_MEASUREMENT = Group("Measurement", sort_key=2)
_OUTPUT = Group("Output", sort_key=3)


def diagnose(
    words: str | None = None,
    /,
    *,
    model: Annotated[str | None, Parameter(group=_NETWORK, metavar="FILE")] = None,
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
        str | None, Parameter(group=_NETWORK, completer=activation_names, show_default="tanh")
    ] = None,
    norm: Annotated[
        NormalisationKind | None, Parameter(name=["--norm", "--normalisation"], group=_NETWORK)
    ] = None,
    residual: Annotated[bool, Parameter(group=_NETWORK, negative="")] = False,
    batch: Annotated[int | None, WHOLE, Parameter(group=_MEASUREMENT, show_default="4,096")] = None,
    lr: Annotated[float | None, Parameter(group=_MEASUREMENT, show_default="0.1")] = None,
    optimiser: Annotated[
        OptimiserName | None,
        Parameter(name=["--optimiser", "--optimizer"], group=_MEASUREMENT, show_default="sgd"),
    ] = None,
    seed: Annotated[int | None, WHOLE, Parameter(group=_MEASUREMENT, show_default="0")] = None,
    split_seed: Annotated[
        int | None, WHOLE, Parameter(group=_MEASUREMENT, show_default="0")
    ] = None,
    fix: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    out: Annotated[str | None, Parameter(group=_OUTPUT, metavar="FILE")] = None,
    html: Annotated[str | None, Parameter(group=_OUTPUT, metavar="FILE")] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    format: Annotated[Literal["text", "github"], Parameter(group=_OUTPUT)] = "text",  # noqa: A002
    fail_on: Annotated[Literal["bad", "suspect"] | None, Parameter(group=_OUTPUT)] = None,
) -> int:
    """Tell before the first step whether a network will learn, why not, and what to do.

    One forward and backward pass is measured, layer by layer, and laid beside what theory expects.

    Parameters
    ----------
    words
        Text file of one word a line, - for standard input; left out: US given names.
    model
        A model file to diagnose, in the place of a start.
    start
        fanin, normal, uniform-logits, fan-in, published and more; or a scheme file or model file.
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
        Training examples to measure on; fewer than 1,024 do not tell dead units from unlucky ones.
    lr
        Learning rate, for the size of the first update; 0.001 by default with adam and adamw.
    optimiser
        sgd, adam or adamw: whose first update is measured, and not made.
    seed
        Decides the start.
    split_seed
        Decides which words are for training.
    fix
        Apply the prescriptions to a copy, measure again, and show before and after.
    out
        Where --fix writes the mended start: fanin train --start FILE takes it.
    html
        Write the report with its pictures as a page that loads nothing.
    json
        One JSON object on standard output, and nothing else there; docs/report.md has its fields.
    format
        github prints the verdicts as annotations of a workflow.
    fail_on
        Exit with 1 where the verdict (after --fix, if given) is that bad, or worse.
    """
    if json and format == "github":
        raise OptionError("--json and --format github exclude each other; choose one")
    if out is not None and not fix:
        raise OptionError(f"--out {out} is for the mended start; add --fix to have one")
    if model is not None and start is not None:
        raise OptionError("--model and --start exclude each other; give one")
    if model is not None and not Path(model).exists():
        raise OptionError(f"--model {model}: there is no such file; fanin train --out writes one")
    check_outputs([("--out", out), ("--html", html)], read=[words, start, model])
    run = _prepare(
        words,
        settings=given(lr=lr, seed=seed, optimiser=optimiser),
        choices=given(
            start=start or model,
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
    from fanin.diagnosis.of_run import diagnose_run, fixed_model

    report = diagnose_run(run, **given(examples=batch))
    if fix:
        report.fixed()  # and measured again
    last = report.after or report
    if out is not None:
        from fanin.model_file import save_model

        save_model(fixed_model(run, report), out)
    if html is not None:
        from fanin.pictures.report_html import write_page

        write_page(report, html)
    _show(report, json=json, github=format == "github")
    for written in filter(None, (out, html)):
        print(f"fanin: written: {printable(written)}", file=sys.stderr)
    bad_enough = {"bad": ("bad",), "suspect": ("suspect", "bad"), None: ()}[fail_on]
    return FAILED if last.verdict in bad_enough else 0


def _prepare(words: str | None, settings: dict[str, Any], choices: dict[str, Any]) -> "Run":
    from fanin.corpus import read_words
    from fanin.trainer import prepare
    from fanin.training import TrainingOptions

    read = None if words is None else read_words(words)
    return prepare(read, options=TrainingOptions(**settings), **choices)


def _show(report: "Report", *, json: bool, github: bool) -> None:
    if json:
        sys.stdout.flush()
        sys.stdout.buffer.write(report.to_json() + b"\n")
    elif github:
        from fanin.pictures.annotations import annotations

        for line in annotations(report.after or report):
            print(printable(line))
    else:
        from fanin.pictures.report_terminal import print_report

        print_report(report)
