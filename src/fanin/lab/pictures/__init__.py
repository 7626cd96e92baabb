"""Pictures that are redrawn in the browser from synchronised numbers, in a page or a notebook."""

from fanin.lab.pictures.chart import Chart, Series, bars, categories, dots, line
from fanin.lab.pictures.letters import Letters
from fanin.lab.pictures.saturation import SaturationMap

__all__ = ["Chart", "Letters", "SaturationMap", "Series", "bars", "categories", "dots", "line"]
