"""Starts that look at data: layer-sequential unit variance (Mishkin and Matas 2015)."""

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import Array

from fanin.autograd import evaluate
from fanin.errors import OptionError
from fanin.networks.network import as_values

if TYPE_CHECKING:
    from fanin.networks import Network, Parameters
    from fanin.starts.schemes import Scheme

EXAMPLES = 1024
"""Contexts that are measured on: the second moment of a layer of 200 units is then known to about
a hundredth, which is less than it differs between draws of the weights."""

TOLERANCE = 0.001
"""How near to 1 each second moment comes. Without biases the first round hits it."""

_ROUNDS = 10


def scale_to_unit(
    scheme: "Scheme",
    network: "Network",
    parameters: "Parameters",
    key: Array,
    contexts: Any,
) -> "Mapping[str, Array]":
    """Scale each hidden weight, in order of execution, to a unit second moment of what it gives.

    That is W x + b before any normalisation, over the units and up to `EXAMPLES` of the contexts,
    (examples, block), which the key chooses. A residual branch that the scheme scales ends at
    1/(2 · branches). Raises OptionError, naming the layer, where no factor does it.
    """
    own_key = jax.random.fold_in(key, zlib.crc32(b"contexts"))
    order = jax.random.permutation(own_key, len(contexts))[:EXAMPLES]
    batch = np.asarray(contexts)[np.asarray(order)].astype(np.int32)
    scaled = dict(parameters)
    for parameter in network.parameters:
        if parameter.role not in ("hidden", "residual"):
            continue
        layer = parameter.name.removesuffix(".weight")
        target = scheme.branch_factor(parameter) ** 2
        for _ in range(_ROUNDS):
            share = _second_moment(network, scaled, layer, batch) / target
            if abs(share - 1) <= TOLERANCE:
                break
            if not 0.0 < share < np.inf:
                raise OptionError(
                    f"the start {scheme.name}: {layer} gives a second moment of {share:.3g} on "
                    f"{len(batch)} contexts, which no factor brings to 1; what is before it is "
                    "zero, or not finite"
                )
            scaled[parameter.name] = scaled[parameter.name] / np.float32(share**0.5)
        else:
            raise OptionError(
                f"the start {scheme.name}: {_ROUNDS} rounds did not bring the second moment of "
                f"{layer} to 1; its biases alone may exceed that: smaller ones would do"
            )
    return scaled


def _second_moment(
    network: "Network", parameters: "Parameters", layer: str, batch: np.ndarray
) -> float:
    # The whole network each time: one program, compiled once, where a part for each layer would
    # be compiled for each.
    logits, run = network.run(as_values(parameters), batch)
    given = evaluate(logits, gradients=False).data[run.outputs[layer]]
    return float(np.mean(np.square(np.asarray(given, np.float64))))
