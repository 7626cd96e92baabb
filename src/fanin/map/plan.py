"""What a map is of: the network, its training or measurement, and the two axes."""

import difflib
import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import jax
import numpy as np

from fanin.corpus import Corpus
from fanin.errors import OptionError
from fanin.map.axes import MapAxis, check_setting
from fanin.map.deep import DeepNetwork
from fanin.networks.activations import activation_name, check_activation
from fanin.networks.layers import NormalisationKind
from fanin.race.devices import tile_width

MEASURES: dict[str, str] = {
    "trained": "share learnt of what one symbol of context tells",
    "gradient-ratio": "log10 of the gradient at the first hidden layer over the last",
    "saturation": "share of saturated outputs of the last hidden layer",
    "correlation": "mean correlation of two examples in the last hidden layer",
}
"""What a map can show, and in which words."""

SIGMA_B = 0.05**0.5  # as in figure 5 of Schoenholz et al. 2017


@final
@dataclass(frozen=True)
class Cell:
    """The settings that axes vary, of one cell. Raises OptionError for what they cannot be."""

    gain: float = 1.0
    sigma_b: float = SIGMA_B
    depth: int = 10
    width: int = 100
    lr: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_setting(name, value)


@final
@dataclass(frozen=True, eq=False)
class Map:
    """A map: every value of `x` with every value of `y`, all else as `cell` says.

    Each cell is a deep network (embedding, so many hidden layers of one width, logits) that is
    trained with the same draws and the same batches, all from `seed`, or with another `measure`
    looked at once before the first step. Raises OptionError for what makes no map.
    """

    x: MapAxis
    y: MapAxis
    corpus: Corpus
    cell: Cell = Cell()
    measure: str = "trained"
    activation: str = "tanh"
    normalisation: NormalisationKind | None = None
    residual: bool = False
    embedding: int = 10
    steps: int = 300
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.x.setting == self.y.setting:
            raise OptionError(f"both axes are {self.x.setting}; give two different ones")
        if self.measure not in MEASURES:
            near = difflib.get_close_matches(self.measure, MEASURES, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OptionError(
                f"the measure {self.measure!r} is not known; {hint}There are {', '.join(MEASURES)}."
            )
        if self.measure != "trained" and "lr" in (self.x.setting, self.y.setting):
            raise OptionError(
                f"the learning rate changes nothing of {self.measure}, which is measured before "
                "training; give another axis"
            )
        if self.normalisation not in (None, "batch", "layer"):
            raise OptionError(f"normalisation is batch or layer; found {self.normalisation!r}")
        for name, least in (("embedding", 1), ("steps", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} must be {least} or more; found {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"a seed is from 0 to {2**32 - 1}; found {self.seed}")
        check_activation(self.activation)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (values of y) and columns (values of x)."""
        return len(self.y.values), len(self.x.values)

    def at(self, row: int, column: int) -> Cell:
        """The settings of one cell."""
        varied: dict[str, Any] = {
            axis.setting: value
            for axis, value in (
                (self.x, self.x.values[column]),
                (self.y, self.y.values[row]),
            )
        }
        for name in ("depth", "width"):
            if name in varied:
                varied[name] = int(varied[name])
        return replace(self.cell, **varied)

    def network(self, width: int) -> DeepNetwork:
        """The network of the cells of one width, of any depth."""
        return DeepNetwork(
            len(self.corpus.vocabulary),
            self.corpus.block,
            self.embedding,
            width,
            self.activation,
            self.normalisation,
            self.residual,
        )

    @property
    def deepest(self) -> int:
        """The largest depth of any cell."""
        return max(self.at(row, 0).depth for row in (0, self.shape[0] - 1)) + (
            max(0, int(self.x.values[-1]) - self.cell.depth) if self.x.setting == "depth" else 0
        )

    def options(self) -> dict[str, Any]:
        """All that decides the numbers, as JSON values."""
        words = self.corpus.words.words
        return {
            "measure": self.measure,
            "x": asdict(self.x),
            "y": asdict(self.y),
            "cell": {k: v for k, v in asdict(self.cell).items() if k not in self._varied},
            "activation": activation_name(self.activation),
            "normalisation": self.normalisation,
            "residual": self.residual,
            "embedding": self.embedding,
            "block": self.corpus.block,
            "split_seed": self.corpus.split_seed,
            "words": {
                "count": len(words),
                "sha256": hashlib.sha256("\n".join(words).encode()).hexdigest(),
            },
            "steps": self.steps if self.measure == "trained" else None,
            "batch": self.batch if self.measure == "trained" else None,
            "seed": self.seed,
            "platform": jax.default_backend(),
            "tile": tile_width(),
        }

    @property
    def _varied(self) -> tuple[str, str]:
        return self.x.setting, self.y.setting


def blind_and_bigram(corpus: Corpus, examples: np.ndarray) -> tuple[float, float]:
    """Losses on these dev examples, in nats per symbol, of two predictions from training counts.

    By the symbols' frequencies alone, which needs no look at the context, and by the frequencies
    after the last symbol of the context, with one added to each count.
    """
    vocabulary = len(corpus.vocabulary)
    pairs = np.ones((vocabulary, vocabulary))
    np.add.at(pairs, (corpus.train.contexts[:, -1], corpus.train.targets), 1)
    alone = pairs.sum(axis=0)
    last, targets = corpus.dev.contexts[examples, -1], corpus.dev.targets[examples]
    blind = -np.log(alone[targets] / alone.sum()).mean()
    bigram = -np.log(pairs[last, targets] / pairs[last].sum(axis=1)).mean()
    return float(blind), float(bigram)
