"""The map of trainability: a network in every cell of two axes, trained or looked at."""

from fanin.map.axes import AXES, MapAxis, read_axis
from fanin.map.course import explore
from fanin.map.plan import MEASURES, Cell, Map
from fanin.map.record import MapCell
from fanin.map.results import Agreement, BoundaryPoint, MapResults
from fanin.map.scales import MULTIPLES, Scales, between, scales

__all__ = [
    "AXES",
    "MEASURES",
    "MULTIPLES",
    "Agreement",
    "BoundaryPoint",
    "Cell",
    "Map",
    "MapAxis",
    "MapCell",
    "MapResults",
    "Scales",
    "between",
    "explore",
    "read_axis",
    "scales",
]
