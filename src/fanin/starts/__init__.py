"""Starts: schemes that fill the parameters which a network declares."""

from fanin.starts.catalogue import SCHEMES, find_start
from fanin.starts.options import OPTIONS, Option
from fanin.starts.schemes import Rule, Scheme

__all__ = ["OPTIONS", "SCHEMES", "Option", "Rule", "Scheme", "find_start"]
