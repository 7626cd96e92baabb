"""Values and their gradients: `Value`, the lazy node, and `evaluate`, the walk."""

# The modules of operations add their methods to `Value` when they are imported.
from fanin.autograd import activations, indexing, normalisation, operations
from fanin.autograd.evaluate import Evaluation, evaluate, topological_order
from fanin.autograd.trace import TraceError
from fanin.autograd.value import Value

__all__ = [
    "Evaluation",
    "TraceError",
    "Value",
    "activations",
    "evaluate",
    "indexing",
    "normalisation",
    "operations",
    "topological_order",
]
