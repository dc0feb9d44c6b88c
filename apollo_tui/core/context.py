"""What the model sees at a step. Pure: the same facts give the same bytes.

A message once sent is never changed. What changes from step to step, the remaining time, is
part of the newest observation when it is made, and stays there.
"""

from __future__ import annotations

from apollo_tui.log.types import (
    AssistantMessage,
    Message,
    Prompt,
    RolloutSpec,
    Task,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

REMINDER = (
    "Your reply had no action, so nothing happened. Reply with a tool call; "
    "when the work is done, call finish. If you need a person's decision, ask your question "
    "again in plain text without a tool call, and a person will answer."
)


def system_prompt(spec: RolloutSpec, workspace: str) -> str:
    """The standing instructions of a rollout."""
    per_step = (
        "Take one action per reply"
        if spec.task.actions_per_step == 1
        else f"Take at most {spec.task.actions_per_step} actions per reply"
    )
    return (
        "You are an autonomous research agent. You work alone for a long time on one task, by "
        "calling tools, in a sandbox of your own.\n"
        f"- Your workspace is {workspace}; commands start there, and relative paths begin there.\n"
        f"- {per_step}: think about what you know and what to find out, act, read the "
        "observation, go on.\n"
        "- Measure before you believe. Keep notes of results in files in the workspace.\n"
        "- A person may be watching and may send you advice as a message that begins with "
        '"Advice from the operator". Take it seriously; say in your thinking how it changes '
        "your plan.\n"
        "- Observations end with the remaining working time where the task limits it. Use it: "
        "long runs are fine as long as they fit.\n"
        "- Call finish when nothing is left that would improve the result."
    )


def task_message(task: Task, time_limit: float | None, step_limit: int | None) -> UserMessage:
    """The first message: the task. It never changes."""
    facts = []
    if time_limit is not None:
        facts.append(f"Working time: {duration(time_limit)} in all.")
    if step_limit is not None:
        facts.append(f"Steps: {step_limit} at most.")
    if task.evaluation is not None:
        facts.append(
            f"Submissions: call eval to have the workspace scored, at most "
            f"{task.evaluation.submissions} times; the workspace is scored once more at the end."
        )
    return UserMessage(
        text="\n\n".join([task.description.strip(), *(["\n".join(facts)] if facts else [])])
    )


def advice_message(text: str) -> UserMessage:
    return UserMessage(text=f"Advice from the operator:\n\n{text}", source="advice")


def reminder_message() -> UserMessage:
    return UserMessage(text=REMINDER, source="reminder")


def prompt(system: str, messages: list[Message], tools: tuple[ToolSpec, ...]) -> Prompt:
    return Prompt(system=system, messages=tuple(messages), tools=tools)


def observation_message(
    reply: AssistantMessage, ordinal: int, observation: str, error: bool
) -> ToolMessage:
    """The observation of the `ordinal`-th action (from 1) of a reply."""
    call = reply.actions[ordinal - 1]
    return ToolMessage(call_id=call.id, tool=call.tool, text=observation, error=error)


def remaining_line(seconds: float | None, steps: int | None) -> str:
    """What is left, for the newest observation; empty when nothing is limited."""
    parts = []
    if seconds is not None:
        parts.append(f"{duration(max(0.0, seconds))} of working time")
    if steps is not None:
        parts.append(f"{max(0, steps)} steps")
    return f"\n\n[left: {', '.join(parts)}]" if parts else ""


def duration(seconds: float) -> str:
    """Seconds as a model reads them best: 45s, 12m 05s, 9h 02m."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
