"""What random networks do at step 0, by quadrature, from any activation's values and slopes.

Gains of an activation: `exact_gains`, `forward_gain`, `backward_gain`, `slope`, `chi`.
Deep networks of one kind of layer: `fixed_point`, `critical`, `depth_scales`.
Any sequence of parts (`Linear`, `Activation`, `Normalise`, `Residual`), on from the second moment
that was measured at its input: `propagate`, `gradient_moments`. Saturated outputs: `share_beyond`.
"""

from fanin.theory.activations import ACTIVATIONS, find_nonlinearity
from fanin.theory.correlations import (
    DepthScales,
    correlation_map,
    decorrelation_map,
    depth_scales,
)
from fanin.theory.expectations import Moments, moments, share_beyond, share_outside
from fanin.theory.fixed_points import (
    CriticalPair,
    FixedPoint,
    critical,
    fixed_point,
    second_moment_map,
)
from fanin.theory.gains import Gains, backward_gain, chi, exact_gains, forward_gain, slope
from fanin.theory.mean_field import (
    Activation,
    Linear,
    Normalise,
    Part,
    PartMoments,
    Residual,
    gradient_moments,
    propagate,
)
from fanin.theory.nonlinearity import Nonlinearity, NoTheory, TheoryError
from fanin.theory.signals import Signal

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "CriticalPair",
    "DepthScales",
    "FixedPoint",
    "Gains",
    "Linear",
    "Moments",
    "NoTheory",
    "Nonlinearity",
    "Normalise",
    "Part",
    "PartMoments",
    "Residual",
    "Signal",
    "TheoryError",
    "backward_gain",
    "chi",
    "correlation_map",
    "critical",
    "decorrelation_map",
    "depth_scales",
    "exact_gains",
    "find_nonlinearity",
    "fixed_point",
    "forward_gain",
    "gradient_moments",
    "moments",
    "propagate",
    "second_moment_map",
    "share_beyond",
    "share_outside",
    "slope",
]
