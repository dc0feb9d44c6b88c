"""What each event does to the projections: the same code when it happens and when it is rebuilt.

Any order of events can be applied: an event about something unknown changes nothing.
"""

from __future__ import annotations

import json
import sqlite3

from apollo_tui.log.events import (
    ActionBackgrounded,
    ActionFinished,
    ActionStarted,
    AdviceDelivered,
    AdviceJudged,
    AdviceQueued,
    AdviceWithdrawn,
    EvaluationFinished,
    EvaluationStarted,
    Event,
    FilesRemoved,
    FilterRunEnded,
    FilterRunFinished,
    FilterRunStarted,
    Frozen,
    GuardFired,
    HintViewed,
    JobEnded,
    JobStarted,
    JudgeAnswered,
    JudgeBegan,
    Marked,
    ModelChanged,
    ModelFailed,
    OperatorTouchedFiles,
    Paused,
    QuestionAsked,
    ReadTo,
    ReminderSent,
    RequestSent,
    Resumed,
    RolledBack,
    RolloutCreated,
    RolloutEnded,
    RolloutRecovered,
    RolloutReopened,
    SandboxLost,
    SettingsChanged,
    SnapshotRestored,
    StateChanged,
    StepCompleted,
    StepDiscarded,
    StepRegenerated,
    StopRequested,
    SummaryCompleted,
    SummaryFailed,
    SummaryStarted,
    Thawed,
    Unmarked,
    VerdictGiven,
)
from apollo_tui.log.states import WORKING_STATES
from apollo_tui.log.types import RolloutSpec, Usage


def apply(db: sqlite3.Connection, seq: int, event: Event) -> None:
    """Write one event's effects. `db` is inside the event's own transaction."""
    if isinstance(event, RolloutCreated):
        _created(db, seq, event)
        return
    if isinstance(event, FilterRunStarted | JudgeBegan | FilterRunFinished | FilterRunEnded):
        _filter_run(db, seq, event)
    if event.rollout is None:
        return
    _pass_time(db, seq, event)
    _change(db, seq, event)
    _tell(db, seq, event)


def _created(db: sqlite3.Connection, seq: int, event: RolloutCreated) -> None:
    spec = event.spec
    db.execute(
        "INSERT OR IGNORE INTO rollouts (id, name, task, model, sandbox, isolated, created_at,"
        " last_seq, last_at, max_submissions, time_limit, step_limit, usd_limit, group_name, tags,"
        " hands_off, parent, forked_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            event.rollout,
            spec.name,
            spec.task.name,
            spec.model,
            spec.sandbox,
            spec.isolated,
            event.at,
            seq,
            event.at,
            spec.task.evaluation.submissions if spec.task.evaluation else None,
            *_limits(spec),
            spec.group,
            json.dumps(spec.tags),
            spec.hands_off,
            event.parent,
            event.forked_at,
        ),
    )


def _limits(spec: RolloutSpec) -> tuple[float | None, int | None, float | None]:
    return (
        spec.time_limit or spec.task.time_limit,
        spec.step_limit or spec.task.step_limit,
        spec.usd_limit,
    )


def _pass_time(db: sqlite3.Connection, seq: int, event: Event) -> None:
    """Working time runs from event to event while the state is one that works."""
    counts = "0" if isinstance(event, RolloutRecovered) else "max(0, ? - last_at)"
    times = () if isinstance(event, RolloutRecovered) else (event.at,)
    states = ",".join(f"'{state}'" for state in sorted(WORKING_STATES))
    db.execute(
        f"UPDATE rollouts SET worked_us = worked_us + CASE WHEN state IN ({states})"
        f" THEN {counts} ELSE 0 END, last_seq = ?, last_at = ? WHERE id = ?",
        (*times, seq, event.at, event.rollout),
    )


def _set(db: sqlite3.Connection, rollout: str | None, assignments: str, *values: object) -> None:
    db.execute(f"UPDATE rollouts SET {assignments} WHERE id = ?", (*values, rollout))


def _change(db: sqlite3.Connection, seq: int, event: Event) -> None:
    rollout = event.rollout
    match event:
        case StateChanged():
            _state(db, event, event.state, event.why)
        case Paused():
            _state(db, event, "paused", event.why)
        case Resumed() | RolloutReopened() | Thawed():
            _state(db, event, "running", "")
            if isinstance(event, RolloutReopened):
                _set(db, rollout, "ended_at = NULL")
        case Frozen():
            _state(db, event, "frozen", "")
        case SummaryStarted():
            _state(db, event, "summarising", "")
        case RolloutEnded():
            _state(db, event, event.state, event.reason)
            # An import is not when it ended.
            ended_at = "CASE sandbox WHEN 'none' THEN NULL ELSE ? END"
            _set(db, rollout, f"ended_at = {ended_at}, in_flight = ''", event.at)
            if event.score is not None:
                _set(db, rollout, "score = max(coalesce(score, ?), ?)", event.score, event.score)
        case SettingsChanged():
            _settings(db, event)
        case RequestSent():
            _request(db, seq, event)
        case StepCompleted():
            _step(db, seq, event)
        case StepDiscarded():
            _set(db, rollout, "in_flight = ''")
            _spend(db, rollout, event.usage)
        case ModelFailed():
            _set(db, rollout, "in_flight = ''")
        case SummaryCompleted():
            _spend(db, rollout, event.usage)
        case ActionStarted() | ActionFinished() | ActionBackgrounded() | JobStarted():
            _action(db, event)
        case JobEnded():
            db.execute(
                "UPDATE actions SET disposition = 'completed', exit_code = ?"
                " WHERE rollout = ? AND job = ? AND disposition = 'background'",
                (event.exit_code, rollout, event.job),
            )
        case AdviceQueued() | AdviceWithdrawn() | AdviceDelivered() | AdviceJudged():
            _advice(db, event)
        case Marked() | Unmarked():
            _marks(db, seq, event)
        case VerdictGiven():
            _verdict(db, seq, event)
        case JudgeAnswered():
            _judged(db, seq, event)
        case EvaluationStarted():
            _state(db, event, "evaluating", "")
        case EvaluationFinished():
            _evaluation(db, seq, event)
        case RolledBack():
            db.execute(
                "UPDATE steps SET superseded = 1 WHERE rollout = ? AND step > ?",
                (rollout, event.to),
            )
        case StepRegenerated():
            db.execute(
                "UPDATE steps SET superseded = 1 WHERE rollout = ? AND step = ?",
                (rollout, event.replaces),
            )
        case ReadTo():
            db.execute(
                "INSERT INTO reads VALUES (?,?,?,?) ON CONFLICT DO UPDATE"
                " SET step = excluded.step, at = excluded.at",
                (rollout, event.by or "", event.step, event.at),
            )
        case _:
            pass


def _state(db: sqlite3.Connection, event: Event, state: str, why: str) -> None:
    _set(db, event.rollout, "state = ?, why = ?", state, why)
    if state == "running":
        _set(db, event.rollout, "started_at = coalesce(started_at, ?)", event.at)


def _settings(db: sqlite3.Connection, event: SettingsChanged) -> None:
    columns = {
        "model": "model",
        "time_limit": "time_limit",
        "step_limit": "step_limit",
        "usd_limit": "usd_limit",
        "hands_off": "hands_off",
        "group": "group_name",
        "name": "name",
    }
    for field, value in event.changes.items():
        if field in columns and isinstance(value, str | int | float | None):
            if value is None and field in ("name", "model", "hands_off"):
                continue
            _set(db, event.rollout, f"{columns[field]} = ?", value)


def _request(db: sqlite3.Connection, seq: int, event: RequestSent) -> None:
    db.execute(
        "INSERT INTO requests VALUES (?,?,?,?,?,?,?,?,?)",
        (
            event.rollout,
            seq,
            event.step,
            event.attempt,
            event.purpose,
            event.starts_segment,
            json.dumps(event.added),
            event.system_ref,
            event.tools_ref,
        ),
    )
    if event.purpose == "step":
        _set(db, event.rollout, "in_flight = 'model'")


def _spend(db: sqlite3.Connection, rollout: str | None, usage: Usage) -> None:
    _set(
        db,
        rollout,
        "tokens_in = tokens_in + ?, tokens_cached = tokens_cached + ?, tokens_out = tokens_out + ?",
        usage.input,
        usage.cached,
        usage.output,
    )
    if usage.cost_usd is not None:
        _set(db, rollout, "cost_usd = coalesce(cost_usd, 0) + ?", usage.cost_usd)
    elif usage.input or usage.output:
        _set(db, rollout, "cost_complete = 0")


def _step(db: sqlite3.Connection, seq: int, event: StepCompleted) -> None:
    usage = event.usage
    db.execute(
        "INSERT OR REPLACE INTO steps VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,0)",
        (
            event.rollout,
            event.step,
            seq,
            event.segment,
            event.message_ref,
            event.thinking,
            event.text,
            event.model,
            event.served_model,
            usage.input,
            usage.cached,
            usage.output,
            usage.cost_usd,
            event.seconds,
        ),
    )
    for ordinal, action in enumerate(event.actions, 1):
        db.execute(
            "INSERT OR IGNORE INTO actions (rollout, step, ordinal, tool, call_id, arguments)"
            " VALUES (?,?,?,?,?,?)",
            (event.rollout, event.step, ordinal, action.tool, action.call_id, action.arguments),
        )
    _set(
        db,
        event.rollout,
        "step = max(step, ?), actions = actions + ?, in_flight = ''",
        event.step,
        len(event.actions),
    )
    _spend(db, event.rollout, usage)


def _action(
    db: sqlite3.Connection,
    event: ActionStarted | ActionFinished | ActionBackgrounded | JobStarted,
) -> None:
    key = (event.rollout, event.step, event.ordinal)
    where = " WHERE rollout = ? AND step = ? AND ordinal = ?"
    if isinstance(event, ActionBackgrounded):
        db.execute("UPDATE actions SET disposition = 'background'" + where, key)
        return
    if isinstance(event, JobStarted):
        db.execute("UPDATE actions SET job = ?" + where, (event.job, *key))
        return
    if isinstance(event, ActionStarted):
        db.execute(
            "UPDATE actions SET state = 'running', job = ?, started_at = ?" + where,
            (event.job, event.at, *key),
        )
        _set(db, event.rollout, "in_flight = 'action'")
        return
    failed = is_error(event)
    db.execute(
        "UPDATE actions SET state = 'finished', disposition = ?, exit_code = ?, seconds = ?,"
        " finished_at = ?, observation_ref = ?, output_ref = ?, summary = ?, lines = ?,"
        " added = ?, removed = ?, synthetic = ?, error = ?" + where,
        (
            event.disposition,
            event.exit_code,
            event.seconds,
            event.at,
            event.observation_ref,
            event.output_ref,
            event.summary,
            event.lines,
            event.added,
            event.removed,
            event.synthetic,
            failed,
            *key,
        ),
    )
    _set(db, event.rollout, "in_flight = '', errors = errors + ?", int(failed))
    if failed:
        _landmark(db, event.rollout, event.step, event.ordinal)


def is_error(event: ActionFinished) -> bool:
    """Whether an action counts as an error in lists and counts."""
    return (
        event.error
        or event.exit_code not in (0, None)
        or event.disposition in ("failed", "invalid", "timeout")
    )


def _advice(
    db: sqlite3.Connection,
    event: AdviceQueued | AdviceWithdrawn | AdviceDelivered | AdviceJudged,
) -> None:
    key = (event.rollout, event.advice)
    where = " WHERE rollout = ? AND advice = ?"
    match event:
        case AdviceQueued():
            db.execute(
                "INSERT OR IGNORE INTO advice VALUES (?,?,?,?,'queued',?,NULL)",
                (event.rollout, event.advice, event.by, event.text, event.at),
            )
        case AdviceWithdrawn():
            db.execute("UPDATE advice SET state = 'withdrawn'" + where, key)
        case AdviceDelivered():
            db.execute(
                "UPDATE advice SET state = 'delivered', delivered_step = ?" + where,
                (event.step, *key),
            )
        case AdviceJudged():
            db.execute("UPDATE advice SET state = ?" + where, (event.outcome, *key))
    _set(
        db,
        event.rollout,
        "queued_advice = (SELECT count(*) FROM advice WHERE rollout = ? AND state = 'queued')",
        event.rollout,
    )


def _marks(db: sqlite3.Connection, seq: int, event: Marked | Unmarked) -> None:
    annotator = event.by or ""
    for ref in event.actions:
        key = (event.rollout, ref.step, ref.ordinal)
        had = _is_marked(db, key)
        if isinstance(event, Marked):
            db.execute(
                "INSERT OR REPLACE INTO marks VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    *(*key, annotator, event.mark, event.code, event.note),
                    event.at if event.made_at is None else event.made_at,
                    seq,
                ),
            )
        else:
            db.execute(
                "DELETE FROM marks WHERE rollout = ? AND step = ? AND ordinal = ?"
                " AND annotator = ?",
                (*key, annotator),
            )
        change = int(_is_marked(db, key)) - int(had)
        _set(db, event.rollout, "marks = marks + ?", change)
        _landmark(db, event.rollout, ref.step, ref.ordinal)


def _is_marked(db: sqlite3.Connection, key: tuple[object, ...]) -> bool:
    found = db.execute(
        "SELECT 1 FROM marks WHERE rollout = ? AND step = ? AND ordinal = ? LIMIT 1", key
    )
    return found.fetchone() is not None


def _landmark(db: sqlite3.Connection, rollout: str | None, step: int, ordinal: int) -> None:
    """An action's entry is a landmark while it is marked (its newest mark), or when it failed."""
    db.execute(
        "UPDATE entries SET landmark = coalesce("
        " (SELECT m.mark FROM marks m WHERE m.rollout = entries.rollout AND m.step = entries.step"
        "  AND m.ordinal = entries.ordinal AND m.mark != 'reviewed' ORDER BY m.seq DESC LIMIT 1),"
        " (SELECT 'error' FROM actions a WHERE a.rollout = entries.rollout"
        "  AND a.step = entries.step AND a.ordinal = entries.ordinal AND a.error), '')"
        " WHERE rollout = ? AND step = ? AND ordinal = ? AND kind = 'action'",
        (rollout, step, ordinal),
    )


def _evaluation(db: sqlite3.Connection, seq: int, event: EvaluationFinished) -> None:
    db.execute(
        "INSERT INTO evaluations VALUES (?,?,?,?,?,?,?,?)",
        (
            event.rollout,
            seq,
            event.submission,
            event.step,
            event.score,
            event.error,
            event.final,
            event.seconds,
        ),
    )
    if not event.final:
        _set(db, event.rollout, "submissions = submissions + 1")
    if event.score is not None:
        score = event.score
        _set(db, event.rollout, "score = max(coalesce(score, ?), ?)", score, score)


def _verdict(db: sqlite3.Connection, seq: int, event: VerdictGiven) -> None:
    db.execute(
        "INSERT OR REPLACE INTO verdicts VALUES (?,?,?,?,?,?,?,?,?)",
        (
            event.run,
            event.rollout,
            event.step,
            event.ordinal,
            event.verdict,
            event.decided_by,
            event.rule,
            event.why,
            seq,
        ),
    )


def _judged(db: sqlite3.Connection, seq: int, event: JudgeAnswered) -> None:
    for word in event.words:
        db.execute(
            "INSERT OR REPLACE INTO judgements VALUES (?,?,?,?,?,?,?,?)",
            (
                event.judge,
                word.key,
                event.rollout,
                word.step,
                word.ordinal,
                word.verdict,
                word.why,
                seq,
            ),
        )
    if not event.copied:
        db.execute(
            "UPDATE filter_runs SET judged = judged + ? WHERE run = ? AND state = 'running'",
            (len(event.words), event.run),
        )


def _filter_run(
    db: sqlite3.Connection,
    seq: int,
    event: FilterRunStarted | JudgeBegan | FilterRunFinished | FilterRunEnded,
) -> None:
    """The first end of a run counts: one that is cancelled as it finishes has finished."""
    match event:
        case FilterRunStarted():
            db.execute(
                "INSERT OR IGNORE INTO filter_runs"
                " (run, seq, at, annotator, rollouts, configuration, as_of) VALUES (?,?,?,?,?,?,?)",
                (
                    event.run,
                    seq,
                    event.at,
                    event.by,
                    json.dumps(event.rollouts),
                    json.dumps(event.configuration),
                    event.as_of,
                ),
            )
        case JudgeBegan():
            db.execute(
                "UPDATE filter_runs SET to_judge = ?, judged = 0 WHERE run = ?",
                (event.actions, event.run),
            )
        case FilterRunFinished():
            db.execute(
                "UPDATE filter_runs SET state = 'finished', as_of = ?, why = ?, kept = ?,"
                " masked = ?, unread = ?, judged = ?, unjudged = ?, gated = ?, counts = ?,"
                " cost_usd = ? WHERE run = ? AND state = 'running'",
                (
                    event.as_of,
                    event.why,
                    event.kept,
                    event.masked,
                    event.unread,
                    event.judged,
                    event.unjudged,
                    json.dumps(event.gated, sort_keys=True),
                    json.dumps({of: one.model_dump() for of, one in event.rollouts.items()}),
                    event.cost_usd,
                    event.run,
                ),
            )
        case FilterRunEnded():
            ended = db.execute(
                "UPDATE filter_runs SET state = 'ended', why = ?"
                " WHERE run = ? AND state = 'running'",
                (event.why, event.run),
            )
            if ended.rowcount:
                db.execute("DELETE FROM verdicts WHERE run = ?", (event.run,))


# --- the transcript: entries are appended in the order of events and never moved ----------------


def _tell(db: sqlite3.Connection, seq: int, event: Event) -> None:
    match event:
        case StepCompleted():
            if event.thinking or event.text:
                _entry(db, seq, event, "thinking", step=event.step)
            for ordinal in range(1, len(event.actions) + 1):
                _entry(db, seq, event, "action", step=event.step, ordinal=ordinal)
        case AdviceDelivered():
            _entry(
                db,
                seq,
                event,
                "advice",
                step=event.step,
                head=str(event.advice),
                landmark="advice",
            )
        case EvaluationFinished():
            _entry(
                db,
                seq,
                event,
                "submission",
                step=event.step,
                text=event.error,
                head="final" if event.final else str(event.submission),
                score=event.score,
                landmark="submission",
            )
        case QuestionAsked():
            _entry(
                db,
                seq,
                event,
                "question",
                step=event.step,
                text=event.text,
                landmark="attention",
            )
        case _:
            if notice := _notice(db, event):
                landmark = "error" if isinstance(event, SandboxLost) else ""
                if isinstance(event, RolloutEnded) and event.state == "failed":
                    landmark = "error"
                _entry(
                    db,
                    seq,
                    event,
                    "notice",
                    step=getattr(event, "step", None),
                    text=notice,
                    head=event.kind,
                    landmark=landmark,
                )


def _notice(db: sqlite3.Connection, event: Event) -> str:
    """What a transcript says of an event that is no step, action or advice; empty: nothing."""
    match event:
        case Paused():
            how = "now, the model call was cut off" if event.now else "after what is in flight"
            return f"paused {how}" + (f": {event.why}" if event.why else "")
        case Resumed():
            return "resumed"
        case StopRequested():
            return "stop asked for"
        case StepDiscarded():
            return f"a reply was cut off: {event.why}"
        case ModelFailed():
            return "" if _failed_before(db, event) else f"the model did not answer: {event.why}"
        case ModelChanged():
            return f"the API now serves {event.after}, before {event.before}"
        case RolloutRecovered():
            return "taken up by a new core"
        case RolloutReopened():
            return "goes on after the stop"
        case RolloutEnded():
            return f"{event.state}: {event.reason}" if event.reason else event.state
        case SandboxLost():
            return f"the sandbox was lost: {event.why}"
        case OperatorTouchedFiles():
            return f"the operator touched {event.count} files"
        case FilesRemoved():
            return f"its files were removed: {event.why}" if event.workspace else ""
        case RolledBack():
            return f"rewound to step {event.to}"
        case SettingsChanged():
            return "settings: " + ", ".join(f"{k} = {v}" for k, v in event.changes.items())
        case GuardFired():
            return f"your guard “{event.guard}”: {event.why}"
        case SnapshotRestored():
            return f"snapshot {event.snapshot} restored"
        case SummaryCompleted():
            return "the context was summarised"
        case SummaryFailed():
            return f"the summary failed: {event.why}"
        case HintViewed():
            return "the agent read the hint"
        case ReminderSent():
            return "no action in the reply; the agent was reminded"
        case _:
            return ""


def _failed_before(db: sqlite3.Connection, event: ModelFailed) -> bool:
    found = db.execute(
        "SELECT 1 FROM entries WHERE rollout = ? AND step = ? AND ordinal = 0"
        " AND head = 'model_failed' LIMIT 1",
        (event.rollout, event.step),
    )
    return found.fetchone() is not None


def _entry(
    db: sqlite3.Connection,
    seq: int,
    event: Event,
    kind: str,
    *,
    step: int | None,
    ordinal: int = 0,
    head: str = "",
    text: str = "",
    score: float | None = None,
    landmark: str = "",
) -> None:
    row = db.execute(
        "UPDATE rollouts SET entries = entries + 1 WHERE id = ? RETURNING entries, step",
        (event.rollout,),
    ).fetchone()
    if row is None:
        return
    db.execute(
        "INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            event.rollout,
            row[0],
            kind,
            seq,
            event.at,
            row[1] if step is None else step,
            ordinal,
            event.by,
            head,
            text,
            score,
            landmark,
        ),
    )
