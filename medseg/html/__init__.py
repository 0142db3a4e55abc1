"""Pages that need nothing else: one file with its style, script, tables and charts, which loads nothing and asks nobody."""

from __future__ import annotations

from medseg.html.axis import Axis
from medseg.html.bars import bars, histogram
from medseg.html.box import boxes
from medseg.html.forest import Estimate, forest
from medseg.html.heat import heat_map
from medseg.html.page import contents, facts, figure, figures, folded, page, section
from medseg.html.plot import Line, Points, Rule, plot
from medseg.html.table import Column, Number, table
from medseg.html.text import Markup, html_of, interval, number, term

__all__ = [
    "Axis",
    "Column",
    "Estimate",
    "Line",
    "Markup",
    "Number",
    "Points",
    "Rule",
    "bars",
    "boxes",
    "contents",
    "facts",
    "figure",
    "figures",
    "folded",
    "forest",
    "heat_map",
    "histogram",
    "html_of",
    "interval",
    "number",
    "page",
    "plot",
    "section",
    "table",
    "term",
]
