"""The race: many starts trained side by side with the same seeds, and a fair verdict."""

from fanin.race.course import course
from fanin.race.joining import join
from fanin.race.lanes import Lane, Run
from fanin.race.plan import Race, Tuning
from fanin.race.processes import Processes, ProcessLost
from fanin.race.results import Curves, Results, Verdict
from fanin.race.run import RaceProgress, race
from fanin.race.standings import Standings, judge
from fanin.race.table import StandingsDocument, table, to_csv, to_json
from fanin.race.variants import AXES, with_axis

__all__ = [
    "AXES",
    "Curves",
    "Lane",
    "ProcessLost",
    "Processes",
    "Race",
    "RaceProgress",
    "Results",
    "Run",
    "Standings",
    "StandingsDocument",
    "Tuning",
    "Verdict",
    "course",
    "join",
    "judge",
    "race",
    "table",
    "to_csv",
    "to_json",
    "with_axis",
]
