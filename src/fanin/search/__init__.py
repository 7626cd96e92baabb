"""The search for a start: races of many candidates, and a fair check of the one that wins."""

from fanin.search.candidates import Candidate
from fanin.search.course import find, seek
from fanin.search.plan import Search
from fanin.search.results import SearchResults
from fanin.search.rungs import Rung

__all__ = ["Candidate", "Rung", "Search", "SearchResults", "find", "seek"]
