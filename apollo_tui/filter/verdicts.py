"""Verdicts: for each action keep or mask, with who decided and why.

Precedence, as in the paper's supervision control (Apollo, arXiv 2510.27630): a person's mark decides, else
the judge, else the rules, else the action is kept. Two rules stand above a mark: an off-policy step
was not said to the prompt that a sample would show, a garbled action cannot be shown as it was said, and
no opinion of their quality changes that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from apollo_tui.log.trajectory import ActionKey, MarkMade, Trajectory
from apollo_tui.log.types import MarkKind

DecidedBy = Literal["human", "judge", "rule", "default"]

FIRM_RULES = frozenset({"off-policy", "garbled"})
"""Rules that a mark does not overrule; settings of the filter switch them off."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one action. `rule` is a rule's name, a person's reason code, or a judge's name."""

    step: int
    ordinal: int
    keep: bool
    by: DecidedBy
    rule: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's or a judge's word on one action: mask it (or, a judge's: keep it)."""

    step: int
    ordinal: int
    why: str
    keep: bool = False

    @property
    def key(self) -> ActionKey:
        return (self.step, self.ordinal)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on one rollout's actions; those not in `decided` are kept by default.

    `suggested` holds what would be masked if a person confirmed it. `read` are the actions that a
    person has looked at: whatever is not in it was decided without anyone reading it.
    """

    decided: Mapping[ActionKey, Verdict] = field(default_factory=dict)
    suggested: Mapping[ActionKey, Finding] = field(default_factory=dict)
    read: frozenset[ActionKey] = frozenset()

    def of(self, step: int, ordinal: int) -> Verdict:
        return self.decided.get((step, ordinal)) or Verdict(step, ordinal, True, "default")

    def keeps(self, step: int, ordinal: int) -> bool:
        verdict = self.decided.get((step, ordinal))
        return verdict is None or verdict.keep


def standing_mark(marks: Iterable[MarkMade]) -> MarkMade | None:
    """The mark that counts when several people marked one action: a rejection before an acceptance,
    either before an unsure or a reviewed; of equals the newest."""
    order: dict[MarkKind, int] = {"reject": 3, "accept": 2, "unsure": 1, "reviewed": 0}
    return max(marks, key=lambda made: (order[made.mark], made.seq), default=None)


def decide(
    trajectory: Trajectory,
    rules: Mapping[str, Iterable[Finding]],
    judged: Mapping[str, Iterable[Finding]] | None = None,
    suggested: Iterable[Finding] = (),
) -> Verdicts:
    """Bring together what rules (by name, in their order), judges (by name) and people say."""
    decided: dict[ActionKey, Verdict] = {}
    firm: set[ActionKey] = set()
    for name, findings in rules.items():
        for finding in findings:
            if name in FIRM_RULES or finding.key not in decided:
                decided[finding.key] = _verdict(finding, "rule", name)
            if name in FIRM_RULES:
                firm.add(finding.key)
    for name, findings in (judged or {}).items():
        for finding in findings:
            if finding.key not in firm:
                decided[finding.key] = _verdict(finding, "judge", name)
    read = set()
    for key, marks in trajectory.marks:
        mark = standing_mark(marks)
        if mark is None:
            continue
        read.add(key)
        if key not in firm and mark.mark in ("reject", "accept"):
            keep = mark.mark == "accept"
            rule = mark.code or ("" if keep else "rejected")
            decided[key] = Verdict(*key, keep, "human", rule, _said(mark))
    return Verdicts(
        decided,
        {finding.key: finding for finding in suggested if finding.key not in decided},
        frozenset(read),
    )


def _verdict(finding: Finding, by: DecidedBy, name: str) -> Verdict:
    return Verdict(finding.step, finding.ordinal, finding.keep, by, name, finding.why)


def _said(mark: MarkMade) -> str:
    who = mark.annotator or "someone"
    return f"{mark.mark}ed by {who}" + (f": {mark.note}" if mark.note else "")
