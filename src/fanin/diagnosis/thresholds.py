"""What the checks call good, suspect and bad: numbers with their reasons, to be read and changed.

`dataclasses.replace(THRESHOLDS, loss=Limit(above=(2.0, 8.0), why="…"))` makes another set. Where a
number was decided by trainings, they are those of `benchmarks/short_trainings.py`, 2,000 steps of
gradient descent at rate 0.1 (docs/diagnosis-reliability.md has the figures).
"""

from dataclasses import dataclass

from fanin.diagnosis.recording import Number
from fanin.diagnosis.report import Verdict, worst


@dataclass(frozen=True)
class Limit:
    """Where good ends and bad begins: (suspect from here on, bad from here on), on either side."""

    below: tuple[float, float] | None = None
    above: tuple[float, float] | None = None
    why: str = ""

    def verdict(self, value: Number) -> Verdict:
        """Good for what was not measured: a check that needs a number has nothing to say."""
        if value is None:
            return "good"
        return worst((self._side(self.below, value, -1), self._side(self.above, value, 1)))

    def _side(self, limits: tuple[float, float] | None, value: float, sign: int) -> Verdict:
        if limits is None:
            return "good"
        suspect, bad = limits
        if sign * value > sign * bad:
            return "bad"
        return "suspect" if sign * value > sign * suspect else "good"

    @property
    def low(self) -> Number:
        return None if self.below is None else self.below[0]

    @property
    def high(self) -> Number:
        return None if self.above is None else self.above[0]


@dataclass(frozen=True)
class Thresholds:
    """One limit for each judged number."""

    loss: Limit = Limit(
        above=(2.5, 10.0),
        why="nats above a uniform guess. Starts with 1.2 nats (√2 at the output after relu) and "
        "with 2 (√2 after selu and linear layers) end within 0.03 to 0.08 nats of the best, up to "
        "5 nats at depth 5; from 8 on, with normalisation, 2,000 steps end 0.2 to 0.3 nats behind. "
        "Of networks at random some of the best began up to 10 nats above (docs/calibration.md)",
    )
    squared_loss: Limit = Limit(
        above=(10.0, 100.0),
        why="a squared error over the targets' variance. A network of unit outputs and targets has "
        "2; targets whose mean is three deviations from 0 have 10",
    )
    logits: Limit = Limit(
        above=(2.5, 5.5),
        why="standard deviation of the logits over classes: 2.5 raises the loss by some 2 nats",
    )
    class_offset: Limit = Limit(
        above=(3.5, 10.0),
        why="mean logit of a class away from the others' mean, which no example has asked for; "
        "√2 at the output after relu gives up to 3, since relu's outputs have a mean",
    )
    saturation: Limit = Limit(
        above=(0.5, 0.65),
        why="share of outputs at a flat end. 5/3 on the first layer of tanh gives 22 % and trains "
        "as well as any; the N(0, 1) start gives 71 % and ends 0.8 nats behind",
    )
    dead: Limit = Limit(
        above=(0.4, 0.75),
        why="share of a layer's units. Healthy relu networks have 5 % at depth 5 and 30 % at "
        "depth 20 (on 1,024 examples), where their inputs have become alike",
    )
    gain_ratio: Limit = Limit(
        below=(0.25, 0.02),
        above=(3.0, 10.0),
        why="a weight's gain over the one that keeps second moments. PyTorch's default is 0.58 "
        "over 1.4 to 1.8, that is 0.31 to 0.41; 5/3 everywhere is 1 to 1.7",
    )
    output_gain: Limit = Limit(
        above=(2.5, 25.0),
        why="of the output layer, that near-uniform logits want at 0.1; √2 and 5/3 are in use",
    )
    input_scale: Limit = Limit(
        below=(0.02, 0.001),
        above=(8.0, 25.0),
        why="root mean square of what a layer without normalisation is given: by an embedding, "
        "which may be small, or as the network's input. Beside biases of PyTorch's default inputs "
        "of 0.02 make a thousandth of the power",
    )
    placed: Limit = Limit(
        above=(30.0, 300.0),
        why="root mean square of a table that is added, as of positions, over that of what it is "
        "added to: beyond 30 inputs are less than a thousandth of the power",
    )
    running_statistics: Limit = Limit(
        above=(5.0, 100.0),
        why="deviations that inputs are off a running mean, or times that theirs is larger or "
        "smaller than the running one. Fresh statistics of 0 and 1 are off by 2 to 4 where weights "
        "keep no scale; at 3 deviations half of relu's units are dead or linear",
    )
    gradient_product: Limit = Limit(
        below=(0.02, 0.001),
        above=(50.0, 200.0),
        why="second moment of the gradient at the first hidden layer over that at the last. "
        "PyTorch's default has 0.03 to 0.3 at depths up to 3, 0.011 (tanh) and 0.0008 (relu) at "
        "5, and then ends 0.16 and 0.2 nats behind; 18 (relu and selu at 5/3) does no harm, 70 "
        "(linear at 5/3, depth 5) and all beyond 200 diverged",
    )
    varying_share: Limit = Limit(
        below=(0.005, 0.0005),
        why="share of the last hidden layer's power that varies over examples. Sigmoid has 0.02 at "
        "depth 2 and 0.00007 at depth 5, which 2,000 steps do not move off the unigrams; relu has "
        "0.05 at depth 20",
    )
    twins: Limit = Limit(
        above=(0.0, 0.5),
        why="share of units that are copies of others",
    )
    gain_ratio_elsewhere: Limit = Limit(
        below=(0.1, 0.01),
        above=(3.0, 10.0),
        why="of networks that are no plain stack of linear layers: 0.18 in MobileNetV3's head",
    )
    gradient_product_elsewhere: Limit = Limit(
        below=(1e-5, 1e-8),
        above=(1e5, 1e8),
        why="of networks that are no plain stack of linear layers. AlexNet has 5e-5 at its own "
        "start; batch normalisation has 1e4 in a ResNet-50 on a few small pictures",
    )
    varying_share_elsewhere: Limit = Limit(
        below=(1e-4, 1e-8),
        why="of networks that are no plain stack of linear layers: CoAtNet has 0.005 at its start",
    )
    attention: Limit = Limit(
        below=(0.5, 0.2),
        why="entropy of attention weights over that of equal ones. Stock models have 0.85 to 1; "
        "products of queries and keys with a standard deviation of 3 give 0.4 over 64 keys",
    )
    stream: Limit = Limit(
        above=(1e3, 1e6),
        why="second moment of a residual stream at its last sum over that at its first. Branches "
        "that normalise add about 1 each; ones that do not, and keep their scale, double it",
    )
    update: Limit = Limit(
        below=(-5.5, -8.0),
        above=(-0.5, 0.5),
        why="log10 of a weight's first update over the weight, both root mean square; customary is "
        "-3, and -1.5 (selu at √2, depth 5) still trains as well as any. Of networks at random 7 "
        "in 10 with a layer near -5.7 were hindered, and all beyond -8 (docs/calibration.md)",
    )
    first_step: Limit = Limit(
        above=(1.0, 30.0),
        why="what the first step promises, over the loss. From 1 on it is more than there is; "
        "1 to 8 diverged (linear, selu at depth 20) or cost 0.05 nats (relu at 5/3, depth 10); "
        "beyond 20 runs diverged or ended far behind, and some with relu at √2 come near that",
    )


THRESHOLDS = Thresholds()
