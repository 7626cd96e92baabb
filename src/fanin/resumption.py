"""Going on with a run that was stopped, from its model file."""

from dataclasses import replace
from pathlib import Path

import jax

from fanin.errors import OptionError
from fanin.model_file import Model, load_model
from fanin.networks.activations import ActivationLike
from fanin.optimiser_state import filled
from fanin.trainer import Run, split_corpus
from fanin.training import TrainingOptions, TrainingState


def resume(
    model: str | Path | Model, *, steps: int | None = None, activation: ActivationLike | None = None
) -> Run:
    """The run that a stopped training left, ready to go on: it ends with the bits of one unbroken.

    Everything comes from the model or its file; only the total of `steps` may be raised. Raises
    OptionError where there is nothing left to do, ModelFileError for a file that cannot be used.
    """
    if not isinstance(model, Model):
        model = load_model(model, activation=activation)
    total = model.options.steps if steps is None else steps
    if total < model.options.steps:
        raise OptionError(
            f"steps may only be raised: the run was for {model.options.steps:,}; found {total:,}"
        )
    if total <= model.steps:
        raise OptionError(
            f"all {model.steps:,} steps of the run are done; give more of them (--steps) to go on"
        )
    options = replace(model.options, steps=total)
    corpus = split_corpus(model.words, model.vocabulary, model.network.block, model.split_seed)
    parameters, statistics = map(jax.device_put, (model.parameters, model.statistics))
    memory = options.update_rule.transformation().init(parameters)
    state = TrainingState(
        model.steps,
        parameters,
        statistics,
        filled(memory, model.optimiser),
    )
    return Run(corpus, model.network, state, model.start, options, model.history)


def what_raising_does(options: TrainingOptions, steps: int) -> str:
    """What a schedule that hangs on the total makes of more steps; empty where it hangs on none."""
    if steps == options.steps or options.schedule == "constant":
        return ""
    if options.schedule == "step":
        return (
            f"the rate now falls to a tenth at step {-(-steps // 2):,} instead of "
            f"{-(-options.steps // 2):,}; steps that are done keep the rates they had"
        )
    return (
        f"the rate now reaches zero at step {steps:,} instead of {options.steps:,}: it rises again "
        "where the run goes on, and steps that are done keep the rates they had"
    )
