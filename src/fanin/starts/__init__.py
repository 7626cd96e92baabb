"""Starts: schemes that fill the parameters which a network declares."""

from fanin.starts.catalogue import SCHEMES, find_start
from fanin.starts.schemes import Rule, Scheme

__all__ = ["SCHEMES", "Rule", "Scheme", "find_start"]
