"""The diagnosis of a training run before its first step, and the model that starts it mended."""

import numpy as np

from fanin.diagnosis.of_network import EXAMPLES, Mended, diagnose
from fanin.diagnosis.report import Report
from fanin.errors import OptionError
from fanin.model_file import Model
from fanin.optimiser_state import named_leaves
from fanin.trainer import Run
from fanin.training import History
from fanin.training.loop import first_state


def diagnose_run(run: Run, *, examples: int = EXAMPLES) -> Report:
    """The report of what `run` begins with, on so many of its training examples, evenly spaced.

    Raises OptionError for a number of examples that is too small or too large to measure at once.
    """
    if not 2 <= examples <= EXAMPLES:
        raise OptionError(f"batch must be from 2 to {EXAMPLES:,} examples here; found {examples:,}")
    training = run.corpus.train
    some = np.linspace(0, len(training) - 1, min(examples, len(training))).astype(np.int64)
    return diagnose(
        run.network,
        run.state.parameters,
        training.contexts[some],
        training.targets[some],
        statistics=run.state.statistics,
        learning_rate=run.options.rate,
        optimiser=run.options.update_rule,
    )


def fixed_model(run: Run, report: Report) -> Model:
    """The model of no steps that `run` begins with, put right as `report` prescribes.

    `save_model` writes it, and `prepare(start=…)` trains on from it.
    """
    mended: Mended = report.mended
    state = first_state(run.network, mended.parameters, run.corpus, run.options)
    # The running moments of what was changed are no longer those of its batches.
    statistics = state.statistics if report.prescriptions else mended.statistics
    return Model(
        network=run.network,
        vocabulary=run.corpus.vocabulary,
        parameters=mended.parameters,
        statistics=statistics,
        words=run.corpus.words,
        split_seed=run.corpus.split_seed,
        start=f"{run.start}, fixed",
        options=run.options,
        history=History(),
        losses=dict.fromkeys(("initial", "train", "dev", "test")),
        optimiser=named_leaves(state.optimiser),
    )
