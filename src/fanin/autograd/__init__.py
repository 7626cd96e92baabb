"""Values and their gradients: `Value`, the lazy node, and `evaluate`, the walk."""

import jax

# The modules of operations add their methods to `Value` when they are imported.
from fanin.autograd import activations, indexing, normalisation, operations
from fanin.autograd.evaluate import Evaluation, evaluate
from fanin.autograd.indexing import IndexRangeError
from fanin.autograd.program import topological_order
from fanin.autograd.trace import TraceError
from fanin.autograd.value import Value

__all__ = [
    "Evaluation",
    "IndexRangeError",
    "TraceError",
    "Value",
    "activations",
    "evaluate",
    "indexing",
    "normalisation",
    "operations",
    "topological_order",
]

# On a CPU the numbers of a small graph are there before another thread could be told of them: a
# loop of single evaluations takes a quarter less time when they are computed where they are asked
# for. JAX heeds this until it is first used; accelerators are not concerned.
jax.config.update("jax_cpu_enable_async_dispatch", False)
