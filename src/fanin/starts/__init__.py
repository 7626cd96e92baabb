"""Starts: schemes that fill the parameters which a network declares."""

from fanin.starts.catalogue import SCHEMES, find_start
from fanin.starts.options import OPTIONS, Option
from fanin.starts.scheme_file import is_scheme_file, load_scheme, save_scheme
from fanin.starts.schemes import MadeFor, Rule, Scheme

__all__ = [
    "OPTIONS",
    "SCHEMES",
    "MadeFor",
    "Option",
    "Rule",
    "Scheme",
    "find_start",
    "is_scheme_file",
    "load_scheme",
    "save_scheme",
]
