"""Logs of made-up rollouts, written through the real log: as large as a benchmark wants them.

Texts are words drawn at random with a seed, so that they compress and tokenise like text does.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apollo_tui.log.events import (
    ActionFinished,
    ActionRef,
    ActionStarted,
    ActionSummary,
    Event,
    Marked,
    RequestSent,
    RolloutCreated,
    RolloutEnded,
    StateChanged,
    StepCompleted,
)
from apollo_tui.log.prompts import segment_texts
from apollo_tui.log.store import Log
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import (
    AssistantMessage,
    RolloutSpec,
    Task,
    Thinking,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

CHUNK = 500  # events of one append
BASH = ToolSpec(
    name="bash",
    description="Run a command.",
    parameters={"type": "object", "properties": {"command": {"type": "string"}}},
)


def words(chance: random.Random, count: int) -> str:
    """So many made-up words; short ones are frequent, as in text."""
    syllables = ("ra", "lo", "ti", "men", "su", "ka", "ne", "do", "ver", "pi", "al", "or")
    return " ".join(
        "".join(chance.choice(syllables) for _ in range(chance.choice((1, 1, 2, 2, 3))))
        for _ in range(count)
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """One step to write: what the model says, and what comes back."""

    thinking: str
    command: str
    observation: str
    reject: bool = False
    exit_code: int = 0


@dataclass
class RolloutWriter:
    """Tells one rollout to the log, in chunks."""

    log: Log
    rollout: str
    segment: int = 100  # steps of one segment
    score: float = 60.0
    at: int = 1_750_000_000_000_000
    _events: list[Event] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)

    async def write(self, turns: Iterable[Turn]) -> tuple[ActionRef, ...]:
        """The whole rollout; returns the actions to be rejected."""
        spec = RolloutSpec(
            task=Task(name="made", description="Make the score better."),
            model="made-up",
            sandbox="plain",
            isolated=False,
            name=self.rollout,
        )
        self._tell(RolloutCreated(rollout=self.rollout, spec=spec))
        self._tell(StateChanged(rollout=self.rollout, state="running"))
        rejected = []
        sent: list[str] = []
        for number, turn in enumerate(turns, 1):
            starts = (number - 1) % self.segment == 0
            if starts:
                task = UserMessage(text="Make the score better.").model_dump_json()
                sent = [task, *sent]  # the step before is carried over
            sent = self._step(number, turn, sent, starts)
            if turn.reject:
                rejected.append(ActionRef(step=number))
            if len(self._events) >= CHUNK:
                await self._flush()
        self._tell(RolloutEnded(rollout=self.rollout, state="finished", score=self.score))
        await self._flush()
        return tuple(rejected)

    def _step(self, number: int, turn: Turn, sent: list[str], starts: bool) -> list[str]:
        """Tells one step; returns the messages that the next request adds."""
        call = ToolCall(id=f"c{number}", tool="bash", arguments={"command": turn.command})
        reply = AssistantMessage(thinking=(Thinking(text=turn.thinking),), actions=(call,))
        answer = ToolMessage(call_id=call.id, tool="bash", text=turn.observation)
        said, seen = reply.model_dump_json(), answer.model_dump_json()
        system, tools = segment_texts("You are an agent.", (BASH,))
        self._texts += [*sent, said, turn.observation, *([system, tools] if starts else [])]
        step: Any = {"rollout": self.rollout, "step": number}
        self._tell(
            RequestSent(
                **step,
                segment=1 + (number - 1) // self.segment,
                model="made-up",
                added=tuple(map(text_hash, sent)),
                starts_segment=starts,
                system_ref=text_hash(system) if starts else None,
                tools_ref=text_hash(tools) if starts else None,
            )
        )
        self._tell(
            StepCompleted(
                **step,
                segment=1 + (number - 1) // self.segment,
                message_ref=text_hash(said),
                thinking=turn.thinking[:400],
                actions=(ActionSummary(tool="bash", call_id=call.id, arguments=turn.command),),
                model="made-up",
                usage=Usage(input=1000, output=50, cost_usd=0.01),
            )
        )
        self._tell(ActionStarted(**step, tool="bash"))
        self._tell(
            ActionFinished(
                **step,
                disposition="completed",
                observation_ref=text_hash(turn.observation),
                summary=turn.observation[-80:],
                exit_code=turn.exit_code,
                seconds=1.0,
            )
        )
        return [said, seen]

    def _tell(self, event: Event) -> None:
        self.at += 1_000_000
        self._events.append(event.model_copy(update={"at": self.at}))

    async def _flush(self) -> None:
        events, texts = self._events, self._texts
        self._events, self._texts = [], []
        if events:
            await self.log.append(*events, texts=texts)


async def write_log(
    database: Path, rollouts: Mapping[str, Iterable[Turn]], *, segment: int = 100
) -> int:
    """A log of these rollouts, and then ana's marks on what is to be rejected. Returns the seq before
    the first mark."""
    log = await Log.open(database)
    try:
        rejected = {
            rollout: await RolloutWriter(log, rollout, segment).write(turns)
            for rollout, turns in rollouts.items()
        }
        unmarked = (await log.rollouts())[-1].last_seq
        for rollout, actions in rejected.items():
            if actions:
                marked = Marked(rollout=rollout, by="ana", actions=actions, mark="reject")
                await log.append(marked)
    finally:
        await log.close()
    return unmarked


def working_turns(count: int, seed: int = 1, *, length: int = 160) -> Iterator[Turn]:
    """An agent at work: edits, runs, looks, polls and repeats itself; one in fifty is rejected. Long
    observations have `length` words."""
    chance = random.Random(seed)
    looked = 0
    for number in range(count):
        thinking, observation = words(chance, 40), words(chance, length)
        match chance.choice(("run", "run", "edit", "look", "poll")):
            case "run":
                command = f"python train.py --seed {number} --note '{words(chance, 8)}'"
            case "edit":
                command = f"sed -i s/{words(chance, 1)}/{words(chance, 1)}/ src/model.py"
            case "look":
                command = f"cat notes/{looked}.md"
                looked += chance.random() < 0.5
                observation = words(random.Random(looked), length)
            case _:
                command = "tail -n 2 train.log"
                observation = f"step {number} loss {chance.random():.4f}"
        yield Turn(thinking, command, observation, reject=number % 50 == 7)
