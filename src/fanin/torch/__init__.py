"""Any `torch.nn.Module` diagnosed before its first step; nothing here imports JAX.

>>> report = fanin.torch.diagnose(module, inputs, targets)
>>> report.verdict, report.checks, report.prescriptions
>>> report.fix_()
"""

from fanin.torch.diagnosing import diagnose
from fanin.torch.healthy import UnhealthyWarning, assert_healthy
from fanin.torch.initialise import Started, initialise_, initialize_
from fanin.torch.passing import PassError

__all__ = [
    "PassError",
    "Started",
    "UnhealthyWarning",
    "assert_healthy",
    "diagnose",
    "initialise_",
    "initialize_",
]
