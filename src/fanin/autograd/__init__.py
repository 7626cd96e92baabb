"""Values and their gradients: `Value`, the lazy node, and `evaluate`, the walk."""

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
