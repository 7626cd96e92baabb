"""A training that one watches: it starts, stops, goes on and rewinds, and the page stays awake."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, final

import anywidget
import numpy as np
import traitlets

from fanin.errors import FaninError, OptionError
from fanin.lab.curve import Curve
from fanin.lab.pictures.chart import Series, line
from fanin.lab.pictures.source import program, style
from fanin.lab.presence import Watch
from fanin.lab.tab import background, session
from fanin.model_file import Model
from fanin.optimiser_state import named_leaves
from fanin.trainer import Run
from fanin.training import History, TrainingOptions, TrainingState, train

FRAME_SECONDS = 1 / 30
MOST_KEPT = 5
CHOICES = (1_000, 5_000, 20_000, 100_000)


class LiveTraining(anywidget.AnyWidget):
    """A run with its losses drawn as it trains, and the buttons for it.

    `load` gives it a run, as `fanin.prepare` makes one. Each press of the button trains so many
    steps more in the same curve, at the run's own rate throughout: going on later changes no bit.
    "Rewind" goes back to the run's own start and keeps the curve; so does loading another run.
    `watchers` are told of every state that is drawn, the first and the last among them.
    """

    _esm = program("frame.js", "chart.js", "training_widget.js")
    _css = style()
    series = traitlets.List([]).tag(sync=True)
    marks = traitlets.List([]).tag(sync=True)
    label = traitlets.Unicode("Losses").tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    kept = traitlets.Int(0).tag(sync=True)
    steps = traitlets.Int(CHOICES[1]).tag(sync=True)
    choices = traitlets.List(list(CHOICES)).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    wrong = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.state: TrainingState | None = None
        """where the training stands"""
        self.watchers: list[Callable[[TrainingState], object]] = []
        self._run: Run | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._watch = Watch(session())
        self._history = _History("", 0)
        self._earlier: list[_History] = []
        self._seconds = 0.0
        self.on_msg(self._asked)

    def load(self, run: Run, label: str) -> None:
        """Put another run in the place of this one, which is kept as a curve if it has any steps.

        `label` says in the legend what is particular to the run. A run of the same label and start
        is the same experiment, and replaces its curve; losses on other words are no comparison, and
        curves of them are dropped.
        """
        self.stop()
        self._keep()
        if self._run is not None and self._run.corpus.words.words != run.corpus.words.words:
            self.forget()
        self._run = run
        self._begin(label)

    def start(self, steps: int | None = None) -> None:
        """Train so many steps more, while this returns at once."""
        if self._run is None or self.running:
            return
        self._stopping = threading.Event()
        self.wrong = ""
        self.running = True
        self._thread = background(lambda: self._train(steps or self.steps))

    def stop(self) -> None:
        """End the training where it stands, and wait until it has ended."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def rewind(self) -> None:
        """Go back to the run's own start; the curve so far is kept for comparison."""
        self.stop()
        if self.step:
            self._keep()
            self._begin(self._history.label)

    def forget(self) -> None:
        """Drop the curves that were kept."""
        self._earlier = []
        self.kept = 0
        self._draw()

    def finish(self, steps: int | None = None) -> None:
        """Train so many steps and wait for them: for programs, where nobody watches."""
        if self._run is not None:
            self._stopping = threading.Event()
            self._train(steps or self.steps)

    @property
    def first_loss(self) -> float:
        """The dev loss of the start, in nats per symbol."""
        return self._history.dev_losses[0]

    def model(self) -> Model:
        """The model as it stands, for `fanin.sample` and `fanin.save_model`.

        Raises OptionError where no run was loaded.
        """
        if self._run is None or self.state is None:
            raise OptionError("there is no run here yet; load one")
        run, state, history = self._run, self.state, self._history
        return Model(
            network=run.network,
            vocabulary=run.corpus.vocabulary,
            parameters=state.parameters,
            statistics=state.statistics,
            words=run.corpus.words,
            split_seed=run.corpus.split_seed,
            start=run.start,
            options=replace(run.options, steps=state.step),
            history=History(),
            losses={
                "initial": history.dev_losses[0] if history.dev_losses else None,
                "train": None,
                "dev": history.dev_losses[-1] if history.dev_losses else None,
                "test": None,
            },
            optimiser=named_leaves(state.optimiser),
        )

    def _asked(self, _: Any, message: Any, buffers: Any) -> None:
        wish, steps = message.get("wish"), message.get("steps")
        if steps in self.choices:
            self.steps = steps
        actions = {
            "go": self.start,
            "stop": self.stop,
            "rewind": self.rewind,
            "forget": self.forget,
        }
        if wish in actions:
            actions[wish]()

    def _begin(self, label: str) -> None:
        assert self._run is not None
        self.state = self._run.state
        self._seconds = 0.0
        taken = {one.tone for one in self._earlier}
        self._history = _History(label, min(set(range(MOST_KEPT + 1)) - taken))
        self.step = self.state.step
        self.wrong = ""
        self.status = "at the start"
        self._draw()
        self._tell()

    def _keep(self) -> None:
        if self.step:
            # Of two curves that would be called the same only the later one says anything new.
            self._earlier = [one for one in self._earlier if one.label != self._history.label]
            self._earlier = [*self._earlier, self._history][-MOST_KEPT:]
            self.kept = len(self._earlier)

    def _train(self, steps: int) -> None:
        try:
            for frame in self._records(steps):
                if frame:
                    self._draw()
                    self._tell()
        except FaninError as error:
            self.wrong = str(error)
        finally:
            self._draw()
            self._tell()
            self.running = False

    def _records(self, steps: int) -> Iterator[bool]:
        """Trains; after each record whether it is time to draw."""
        assert self._run is not None
        assert self.state is not None
        run, drawn, before = self._run, 0.0, self._seconds
        options = watched_options(run.options, self.state.step + steps)
        records: Any = train(
            run.network, self.state.parameters, run.corpus, options, state=self.state
        )
        with contextlib.closing(records):
            for progress in records:
                self._history.add(progress.step, progress.batch_losses, progress.dev_loss)
                self.state, self._seconds = progress.state, before + progress.seconds
                if self._stopping.is_set() or self._watch.gone:
                    return
                now = time.monotonic()
                yield now - drawn >= FRAME_SECONDS
                drawn = now if now - drawn >= FRAME_SECONDS else drawn

    def _draw(self) -> None:
        history = self._history
        self.series = [
            *(series for one in self._earlier for series in one.series(faint=True)),
            *history.series(),
        ]
        if self.state is not None and history.dev_losses:
            self.step = self.state.step
            self.status = (
                f"step {self.step:,} · dev loss {history.dev_losses[-1]:.4f} · "
                f"{self._seconds:.1f} s of training"
            )

    def _tell(self) -> None:
        if self.state is not None:
            for watcher in self.watchers:
                watcher(self.state)


def watched_options(options: TrainingOptions, steps: int) -> TrainingOptions:
    """The options of a run that is watched: dev losses every 100 steps, one rate throughout.

    The rate's schedule would hang on how many steps there are to be, which nobody knows yet.
    """
    if options.schedule != "constant" or options.warm_up:
        raise OptionError("a watched training takes schedule='constant' and no warm_up")
    return replace(options, steps=steps, eval_every=100)


@final
class _History:
    """The losses of one run from its start on, and what they are called."""

    def __init__(self, label: str, tone: int) -> None:
        self.label = label
        self.tone = tone
        self.batch = Curve()
        self.dev_steps: list[int] = []
        self.dev_losses: list[float] = []

    def add(self, step: int, batch_losses: np.ndarray, dev_loss: float | None) -> None:
        self.batch.add(batch_losses)
        if dev_loss is not None and (not self.dev_steps or step > self.dev_steps[-1]):
            self.dev_steps.append(step)
            self.dev_losses.append(dev_loss)

    def series(self, *, faint: bool = False) -> list[Series]:
        steps, (least, mean, largest) = self.batch.drawn()
        batch = line(
            "" if faint else "batch losses",
            steps,
            mean,
            tone=self.tone,
            faint=faint,
            wide=1.0,
            between=(least, largest),
        )
        # No more dev losses than there are pixels.
        every = -(-len(self.dev_steps) // 1_000) or 1
        dev = line(
            ("earlier " if faint else "") + "dev loss" + (f", {self.label}" if self.label else ""),
            self.dev_steps[::every],
            self.dev_losses[::every],
            tone=self.tone,
            dashed=self.tone,
            faint=faint,
            wide=2.4,
        )
        return [batch, dev]
