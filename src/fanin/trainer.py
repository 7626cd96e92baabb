"""The main job, from words to a trained model, in one call."""

import difflib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, Unpack, final

import jax
import jax.numpy as jnp
import numpy as np

from fanin.corpus import (
    Corpus,
    Examples,
    Vocabulary,
    Words,
    build_examples,
    bundled_names,
    split_words,
)
from fanin.errors import OptionError, WordsError
from fanin.model_file import Loss, Model, load_model
from fanin.networks import ACTIVATIONS, ActivationLike, CharacterMLP, Network
from fanin.networks.layers import NormalisationKind
from fanin.optimiser_state import named_leaves
from fanin.starts import SCHEMES, Scheme, find_start, is_scheme_file
from fanin.training import (
    History,
    Progress,
    TrainingOptions,
    TrainingState,
    find_learning_rate,
    mean_loss,
    train,
)
from fanin.training.evaluation import BLOCK
from fanin.training.loop import first_contexts, first_state

# Parameters, their gradients and updates, and the chunk's first state, all at the same time.
ROOM = 2**24
"""For the losses of so many steps there is room from the beginning: 64 MiB."""
_COPIES = 4
_FLOAT = 4  # bytes


class Sizes(TypedDict, total=False):
    """The settings of a `CharacterMLP`; its own defaults stand for what is left out."""

    block: int
    embedding: int
    hidden: tuple[int, ...]
    activation: ActivationLike
    normalisation: NormalisationKind | None
    residual: bool


@final
@dataclass(frozen=True, eq=False)
class Run:
    """A training run with everything ready: checked, split, started, and no step done."""

    corpus: Corpus
    network: Network
    state: TrainingState
    start: str
    options: TrainingOptions
    history: History = field(default_factory=History)
    """Of the steps that are done already, where the run goes on with an earlier one."""

    def train(
        self,
        on_progress: Callable[[Progress], object] | None = None,
        *,
        save: Callable[[Model], object] | None = None,
        save_every: int | None = None,
    ) -> Model:
        """Does the steps, measures the losses over whole splits, and gives the model.

        `on_progress` is called with every record; `save`, at every multiple of `save_every` steps,
        with the model so far, from which `resume` goes on. An interrupt (Ctrl-C) after the first
        step ends training early: the model is what was trained so far, and its `steps` say how
        far.
        """
        if save_every is not None and save_every < 1:
            raise OptionError(f"save_every must be 1 or more; found {save_every}")
        before = self.history
        # Room before it is needed, so that a run of hours takes no more as it goes on.
        room = max(before.batch_losses.size, min(self.options.steps, ROOM))
        losses = np.full(room, np.nan, np.float32)
        losses[: before.batch_losses.size] = before.batch_losses
        evaluations = dict(zip(before.dev_steps, before.dev_losses, strict=True))
        state = self.state

        def history() -> History:
            # An interrupt may leave losses that belong to no state.
            dev = {step: loss for step, loss in evaluations.items() if step <= state.step}
            return History(losses[: state.step], tuple(dev), tuple(dev.values()))

        records = train(
            self.network,
            state.parameters,
            self.corpus,
            self.options,
            state=state,
            record_every=save_every,
        )
        try:
            for progress in records:
                first = progress.step - progress.batch_losses.size
                if progress.step > losses.size:
                    size = min(self.options.steps, max(2 * losses.size, progress.step))
                    more = np.full(size - losses.size, np.nan, np.float32)
                    losses = np.concatenate([losses, more])
                losses[first : progress.step] = progress.batch_losses
                if progress.dev_loss is not None:
                    evaluations[progress.step] = progress.dev_loss
                state = progress.state
                if on_progress is not None:
                    on_progress(progress)
                under_way = self.state.step < state.step < self.options.steps
                if save and save_every and under_way and state.step % save_every == 0:
                    save(self._model(state, history(), measure=False))
        except KeyboardInterrupt:
            if state.step == 0:
                raise
        return self._model(state, history(), measure=True)

    def with_found_rate(self) -> "Run":
        """The same run at the learning rate that a sweep from its start suggests."""
        search = find_learning_rate(self.network, self.state.parameters, self.corpus, self.options)
        return replace(self, options=replace(self.options, lr=search.suggestion))

    def _model(self, state: TrainingState, history: History, *, measure: bool) -> Model:
        return Model(
            network=self.network,
            vocabulary=self.corpus.vocabulary,
            parameters=state.parameters,
            statistics=state.statistics,
            words=self.corpus.words,
            split_seed=self.corpus.split_seed,
            start=self.start,
            options=self.options,
            history=history,
            losses=self._losses(state, history, measure),
            optimiser=named_leaves(state.optimiser),
        )

    def _losses(
        self, state: TrainingState, history: History, measure: bool
    ) -> dict[Loss, float | None]:
        losses: dict[Loss, float | None] = dict.fromkeys(("initial", "train", "dev", "test"))
        if history.dev_steps and history.dev_steps[0] == 0:
            losses["initial"] = history.dev_losses[0]
        if not measure:
            return losses
        splits: dict[Loss, Examples] = {
            "dev": self.corpus.dev,
            "train": self.corpus.train,
            "test": self.corpus.test,
        }
        # A second interrupt leaves out what was still to be measured: the model is worth more.
        with suppress(KeyboardInterrupt):
            for name, examples in splits.items():
                losses[name] = mean_loss(self.network, state.parameters, examples, state.statistics)
        return losses


def prepare(
    words: Words | None = None,
    *,
    start: str | Path | Scheme | Model = "fanin",
    options: TrainingOptions | None = None,
    split_seed: int | None = None,
    **sizes: Unpack[Sizes],
) -> Run:
    """A run that trains a model to make words like these; the seed of the options starts it.

    `start` is a scheme, its name or its file; or a model or its file, which lends its network and
    its vocabulary besides its parameters, and its split seed and its words where those are not
    given (otherwise 0 and the bundled names). Raises OptionError, WordsError and ModelFileError for
    what cannot be, before anything large is computed.
    """
    options = options or TrainingOptions()
    _check_arguments(words, sizes)
    origin = _origin(start, sizes.get("activation"))
    if isinstance(origin, Model):
        words, seed = words or origin.words, origin.split_seed
        vocabulary = _shared(origin, words)
    else:
        words, seed = words or bundled_names(), 0
        vocabulary = Vocabulary.of(words.words, words.source)
    split_seed = seed if split_seed is None else split_seed
    if split_seed < 0:
        raise OptionError(f"split_seed must be 0 or more; found {split_seed}")
    network = _network(origin, len(vocabulary), sizes)
    _check_memory(network, words, vocabulary, options)
    corpus = split_corpus(words, vocabulary, network.block, split_seed)
    if isinstance(origin, Model):
        parameters, statistics = (
            {name: jnp.asarray(array) for name, array in group.items()}
            for group in (origin.parameters, origin.statistics)
        )
        first = first_state(network, parameters, corpus, options)
        first = replace(first, statistics=statistics)
        name = str(start) if isinstance(start, str | Path) else f"a model ({origin.start})"
        return Run(corpus, network, first, name, options)
    contexts = first_contexts(corpus)
    parameters = origin(network, jax.random.key(options.seed), contexts)
    first = first_state(network, parameters, corpus, options)
    return Run(corpus, network, first, origin.name, options)


def _check_arguments(words: object, sizes: Sizes) -> None:
    if words is not None and not isinstance(words, Words):
        raise WordsError(
            f"words are given as {type(words).__name__}; Words.of(list) or read_words(file) would "
            "do"
        )
    for name in sizes:
        if name not in Sizes.__annotations__:
            near = difflib.get_close_matches(name, Sizes.__annotations__, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise OptionError(
                f"the setting {name!r} is not known{hint} There are "
                f"{', '.join(Sizes.__annotations__)}, and those of TrainingOptions as options="
            )


def fit(
    words: Words | None = None,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    start: str | Path | Scheme | Model = "fanin",
    options: TrainingOptions | None = None,
    split_seed: int | None = None,
    **sizes: Unpack[Sizes],
) -> Model:
    """Trains a model that makes words like these: `prepare` and `Run.train` in one."""
    run = prepare(words, start=start, options=options, split_seed=split_seed, **sizes)
    return run.train(on_progress)


def _shared(origin: Model, words: Words) -> Vocabulary:
    """The vocabulary of the model to start from, which must know every symbol of the words."""
    if strange := sorted(set("".join(words.words)).difference(origin.vocabulary.symbols)):
        some = ", ".join(map(repr, strange[:5])) + (" and more" if len(strange) > 5 else "")
        raise WordsError(
            f"{words.source}: holds {some}, which the model to start from has never seen; "
            f"start afresh (--start fanin) or leave such words out"
        )
    return origin.vocabulary


def _origin(
    start: str | Path | Scheme | Model, activation: ActivationLike | None
) -> Scheme | Model:
    """The scheme, or the model whose file the name is."""
    if isinstance(start, Scheme | Model):
        return start
    if str(start) in SCHEMES or is_scheme_file(str(start)):
        return find_start(str(start))
    path = Path(start)
    if path.suffix == ".safetensors" or len(path.parts) > 1 or path.exists():
        # An activation that the model has no use for is left for `_network` to complain about.
        custom = None if activation in ACTIVATIONS else activation
        return load_model(start, activation=custom)
    return find_start(str(start))


def _network(origin: Scheme | Model, vocabulary: int, sizes: Sizes) -> Network:
    if isinstance(origin, Scheme):
        return CharacterMLP(vocabulary, **sizes)
    for name, size in sizes.items():
        if size != (found := getattr(origin.network, name, None)):
            raise OptionError(
                f"{name} is {_shown(size)}, and the model to start from has {_shown(found)}; "
                f"leave {name} out to start from it"
            )
    return origin.network


def _shown(size: object) -> str:
    return ",".join(map(str, size)) if isinstance(size, tuple) else str(size)  # pyright: ignore


def split_corpus(words: Words, vocabulary: Vocabulary, block: int, split_seed: int) -> Corpus:
    splits = split_words(words.words, split_seed, source=words.source)
    train, dev, test = (
        build_examples(part, vocabulary, block) for part in (splits.train, splits.dev, splits.test)
    )
    return Corpus(words, vocabulary, splits, block, split_seed, train, dev, test)


def _check_memory(
    network: Network, words: Words, vocabulary: Vocabulary, options: TrainingOptions
) -> None:
    """Raises OptionError where the run cannot fit in this machine's memory, by a low estimate."""
    widths = sum(
        parameter.shape[-1] for parameter in network.parameters if len(parameter.shape) > 1
    )
    examples = sum(map(len, words.words)) + len(words.words)
    needs = {
        "the parameters (embedding, hidden)": network.parameter_count * _FLOAT * _COPIES,
        "activations (embedding, hidden, batch)": max(options.batch, min(BLOCK, examples))
        * widths
        * _FLOAT,
        f"contexts of {network.block:,} symbols (block)": examples
        * network.block
        * vocabulary.dtype.itemsize,
        "a loss for each step (steps)": options.steps * _FLOAT,
    }
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if sum(needs.values()) > memory:
        largest = max(needs, key=needs.__getitem__)
        raise OptionError(
            f"this run needs {sum(needs.values()) / 2**30:,.1f} GiB of memory, most of it for "
            f"{largest}, and the machine has {memory / 2**30:,.1f} GiB; make it smaller"
        )
