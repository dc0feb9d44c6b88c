"""Figures of a benchmark, each with its goal where it has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`met` is None for a figure without a goal: a floor, a size."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None


@dataclass
class Report:
    title: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, what: str, value: str, goal: str = "", met: bool | None = None) -> None:
        self.figures.append(Figure(what, value, goal, met))

    @property
    def all_met(self) -> bool:
        return all(figure.met is not False for figure in self.figures)

    def table(self) -> str:
        rows = [("what", "measured", "goal", "")]
        signs = {True: "met", False: "NOT MET", None: ""}
        rows += [(one.what, one.value, one.goal, signs[one.met]) for one in self.figures]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, *lines])

    def verdict(self) -> str:
        missed = [one.what for one in self.figures if one.met is False]
        met = sum(one.met is True for one in self.figures)
        if missed:
            return f"{met} met, not met: {'; '.join(missed)}"
        return f"all {met} met"

    def facts(self, name: str, small: bool) -> dict[str, Any]:
        return {
            "benchmark": name,
            "small": small,
            "all_met": self.all_met,
            "figures": [
                {"what": one.what, "value": one.value, "goal": one.goal, "met": one.met}
                for one in self.figures
            ],
        }
