"""Any `torch.nn.Module` diagnosed before its first step; nothing here imports JAX.

>>> report = fanin.torch.diagnose(module, inputs, targets)
>>> report.verdict, report.checks, report.prescriptions
"""

from fanin.torch.diagnosing import diagnose
from fanin.torch.passing import PassError

__all__ = ["PassError", "diagnose"]
