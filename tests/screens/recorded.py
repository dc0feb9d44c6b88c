"""A log that looks like a day of real work, written with the real store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apollo_tui.log.events import (
    ActionFinished,
    ActionRef,
    ActionStarted,
    ActionSummary,
    AdviceDelivered,
    AdviceQueued,
    EvaluationFinished,
    EvaluationStarted,
    Event,
    Marked,
    Paused,
    QuestionAsked,
    RequestSent,
    RolloutCreated,
    SandboxReady,
    StateChanged,
    StepCompleted,
)
from apollo_tui.log.store import Log
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import (
    AssistantMessage,
    Evaluation,
    RolloutSpec,
    Task,
    Thinking,
    ToolCall,
    Usage,
)
from apollo_tui.paths import Home

NOW = 1_763_906_400_000_000  # 2025-11-23 14:00:00 UTC, in µs
MINUTE = 60_000_000


@dataclass
class Recording:
    """One rollout being written: times run on by themselves up to `ends`."""

    log: Log
    rollout: str
    at: int
    step: int
    cost: float | None = 0.01
    texts: list[str] = field(default_factory=list)

    async def append(self, *events: Event) -> None:
        texts, self.texts = self.texts, []
        await self.log.append(*events, texts=texts)

    def text(self, text: str) -> str:
        self.texts.append(text)
        return text_hash(text)

    async def act(
        self,
        tool: str,
        arguments: str,
        *,
        thinking: str = "",
        said: str = "",
        lines: int = 1,
        seconds: float = 1.0,
        call: dict[str, Any] | None = None,
        finished: bool = True,
        output: str | None = None,
        **outcome: Any,
    ) -> int:
        """One step with one action; returns its number."""
        self.step += 1
        step, rollout = self.step, self.rollout
        message = AssistantMessage(
            thinking=(Thinking(text=thinking),) if thinking else (),
            actions=(ToolCall(id=f"c{step}", tool=tool, arguments=call or {"command": arguments}),),
        )
        await self.append(
            RequestSent(
                rollout=rollout, step=step, at=self.at, model="glm-4.5", added=(), segment=1
            )
        )
        self.at += 4_000_000
        await self.append(
            StepCompleted(
                rollout=rollout,
                step=step,
                at=self.at,
                message_ref=self.text(message.model_dump_json()),
                thinking=thinking[:400],
                actions=(ActionSummary(tool=tool, call_id=f"c{step}", arguments=arguments),),
                model="glm-4.5",
                usage=Usage(input=61_234, cached=58_900, output=214, cost_usd=self.cost),
                seconds=4.0,
            )
        )
        await self.append(ActionStarted(rollout=rollout, step=step, at=self.at, tool=tool))
        if finished:
            self.at += int(seconds * 1e6)
            observation = output if output is not None else (said or "")
            await self.append(
                ActionFinished(
                    rollout=rollout,
                    step=step,
                    at=self.at,
                    observation_ref=self.text(observation),
                    summary=said,
                    lines=lines,
                    seconds=seconds,
                    **{"disposition": "completed"} | outcome,
                )
            )
        return step

    async def advise(self, number: int, text: str, *, delivered: bool) -> None:
        await self.append(
            AdviceQueued(rollout=self.rollout, at=self.at, by="ana", advice=number, text=text)
        )
        if delivered:
            await self.append(
                AdviceDelivered(rollout=self.rollout, at=self.at, step=self.step + 1, advice=number)
            )

    async def mark(self, step: int, mark: str, code: str | None = None, note: str = "") -> None:
        await self.append(
            Marked(
                rollout=self.rollout,
                at=self.at,
                by="ana",
                actions=(ActionRef(step=step),),
                mark=mark,
                code=code,
                note=note,
            )
        )

    async def submit(self, number: int, score: float, seconds: float) -> None:
        submission = {"rollout": self.rollout, "submission": number, "step": self.step}
        await self.append(EvaluationStarted(at=self.at, **submission))
        self.at += int(seconds * 1e6)
        await self.append(
            EvaluationFinished(at=self.at, score=score, seconds=seconds, **submission),
            StateChanged(rollout=self.rollout, at=self.at, state="running"),
        )


async def begin(
    log: Log, name: str, *, hours: float, step: int, model: str = "glm-4.5", **spec: Any
) -> Recording:
    """A rollout that was started so many hours before NOW and has come to a step."""
    evaluation = Evaluation(folder="evaluation", command="python score.py", submissions=3)
    fields = {"sandbox": "docker", "isolated": True, "time_limit": 108_000.0} | spec
    created = RolloutCreated(
        rollout=f"r-{name}",
        at=NOW - int(hours * 60) * MINUTE,
        by="ana",
        spec=RolloutSpec(
            task=Task(name=name, description="Do it.", evaluation=evaluation),
            model=model,
            name=name,
            **fields,
        ),
    )
    recording = Recording(log, created.rollout, NOW - 60 * MINUTE, step)
    ready = SandboxReady(
        rollout=created.rollout,
        at=created.at,
        sandbox=str(fields["sandbox"]),
        isolated=bool(fields["isolated"]),
    )
    running = StateChanged(rollout=created.rollout, at=created.at, state="running")
    await recording.append(created, ready, running)
    return recording


async def record(path: Path) -> Home:
    """Four rollouts, as on the drawing of the home screen."""
    home = Home(path)
    home.prepare()
    log = await Log.open(home.database)
    await _limo(log)
    await _dapo(log)
    await _research(log)
    await _tamil(log)
    await log.close()
    return home


async def _limo(log: Log) -> None:
    r = await begin(log, "limo-filter", hours=9.04, step=400, usd_limit=20.0)
    r.cost = 0.18
    await r.act("think", "plan: filter by verification, three seeds of 800 samples each")
    await r.act(
        "bash",
        "python tools/score_traces.py --model qwen --in data/traces.jsonl --out scores.jsonl",
        said="817 traces scored, mean 0.61, wrote scores.jsonl",
        lines=212,
        seconds=250,
    )
    step = await r.act("edit_file", "configs/limo_800.yaml:14-22", added=6, removed=2)
    await r.mark(step, "accept")
    await r.submit(1, 44.0, 360)
    await r.act(
        "run_command",
        "torchrun --nproc 2 train.py --deepspeed zero2 --config configs/limo_800.yaml",
        disposition="background",
        seconds=0.2,
    )
    await r.act(
        "wait_for",
        "gpu_train 1800s until /epoch 1/",
        said="step 120/360  loss 0.7420  lr 9.8e-06  14.1 s/it",
        lines=44,
        seconds=1620,
    )
    step = await r.act(
        "kill_session_processes",
        "gpu_train force=true",
        thinking="The loss falls slowly and the run needs two more hours. I could stop it here, keep "
        "the checkpoint at step 120 and train on fewer samples, which should give most of the score "
        "for a fraction of the time.",
        said="2 processes ended, checkpoint-120 kept",
        lines=3,
        seconds=0.4,
    )
    await r.mark(step, "reject", "impatient", "healthy run, loss falling, 21h left")
    step = await r.act(
        "edit_file",
        "src/reward.py:12-14",
        thinking="Reward is low because many answers lack the tag. Giving 0.5 for the tag alone "
        "will raise it at once, and the metric follows the reward.",
        added=2,
        removed=1,
    )
    await r.mark(step, "reject", "reward-hack", "pays for the tag, not for the answer")
    await r.advise(
        1,
        "Let healthy runs finish: you have 21 hours. Score the answer, not its tag. Resume from "
        "checkpoint-120 with the same learning rate.",
        delivered=True,
    )
    step = await r.act("edit_file", "src/reward.py:12-19", added=7, removed=3)
    await r.mark(step, "accept")
    await r.act("bash", "pytest -q tests/test_reward.py", said="6 passed", lines=9, seconds=3)
    await r.act(
        "run_command",
        "torchrun --nproc 2 train.py --config configs/limo_800.yaml --resume last",
        disposition="background",
        seconds=0.1,
    )
    await r.act(
        "get_session_recent_output",
        "gpu_train 60s",
        said="step 282/360  loss 0.4127  lr 3.1e-06  14.1 s/it",
        lines=4,
        seconds=0.2,
    )
    await r.act(
        "edit_file",
        "build_data.py:31-38",
        thinking="While it trains I can look for material close to the test set.",
        call={
            "path": "build_data.py",
            "old": "def build(scored, n=800):\n    rows = top(scored, n)\n    return dedup(rows)",
            "new": "def build(scored, n=800):\n    rows = top(scored, n)\n"
            '    extra = read_jsonl("data/extra_aime.jsonl")\n    rows += extra\n'
            "    return dedup(rows)",
        },
        output="File updated: build_data.py (2 insertions).\nSyntax check passed.",
        said="Syntax check passed.",
        lines=2,
        added=2,
        removed=0,
        seconds=0.1,
    )


async def _dapo(log: Log) -> None:
    r = await begin(log, "dapo-loss", hours=2.67, step=78, model="claude")
    r.cost = 0.68
    await r.act("open_file", "verl/trainer/ppo/core_algos.py:310", seconds=0.2)
    await r.act(
        "search_dir", '"masked_mean" verl/', said="14 matches in 6 files", lines=14, seconds=1
    )
    await r.act(
        "edit_file",
        "recipes/dapo/loss.py:40-52",
        thinking="DAPO averages over tokens, not over sequences; GRPO's loss here divides by the "
        "length of each sequence first.",
        added=11,
        removed=6,
    )
    await r.act("bash", "pytest -q tests/test_loss.py -k clip_higher", seconds=8)
    step = await r.act("edit_file", "recipes/dapo/loss.py:61-70", added=4, removed=4)
    await r.mark(step, "accept")
    await r.act("sleep", "1800", seconds=720)
    await r.act("edit_file", "recipes/dapo/loss.py:40-52", added=3, removed=3)
    await r.act(
        "bash",
        "pytest -q tests/test_loss.py",
        said="assert loss.item() == approx(0.6931), got 0.0433",
        exit_code=1,
        error=True,
        lines=12,
        seconds=6,
    )
    await r.append(Paused(rollout=r.rollout, at=r.at, by="ana"))
    await r.advise(
        1,
        "Use the token-level mean over the whole batch, not the mean of sequence means.",
        delivered=False,
    )


async def _research(log: Log) -> None:
    r = await begin(log, "deep-research", hours=5.29, step=189, model="kimi-k2")
    r.cost = 0.19
    await r.act("bash", "pip install -q trafilatura playwright", seconds=31)
    step = await r.act("edit_file", "agents/browse.py:12-60", added=41, removed=9)
    await r.mark(step, "accept")
    await r.act("web_search", '"GAIA validation level one multi-hop browse" top_k=10', seconds=2)
    await r.act("create_file", "agents/planner.py", added=164, removed=0)
    step = await r.act(
        "bash",
        "python eval.py --split data/dev --n 40 --workers 8",
        said="dev 40 · exact 0.425 · mean tool calls 11.2",
        lines=96,
        seconds=1080,
    )
    await r.mark(step, "accept")
    await r.submit(1, 31.5, 360)
    step = await r.act("edit_file", "agents/planner.py:88-131", added=29, removed=12)
    await r.mark(step, "unsure")
    await r.act(
        "list_files", "data/", said="dev.jsonl  test_questions.jsonl  tools/", lines=3, seconds=0.1
    )
    r.at = NOW - 3 * MINUTE
    r.step += 1
    message = AssistantMessage(text="May I?", thinking=(Thinking(text="The dev split is small."),))
    text = "May I use the unlabelled test questions to calibrate the planner, or is that off limits for this task?"
    await r.append(
        StepCompleted(
            rollout=r.rollout,
            step=r.step,
            at=r.at,
            message_ref=r.text(message.model_dump_json()),
            thinking="The dev split is small. The test questions carry no answers, but their topics "
            "would help calibration; I should ask.",
            model="kimi-k2",
            usage=Usage(input=9_000, output=120, cost_usd=0.02),
        ),
        QuestionAsked(rollout=r.rollout, step=r.step, at=r.at, text=text),
        StateChanged(rollout=r.rollout, at=r.at, state="waiting", why="asks you: advise it"),
    )


async def _tamil(log: Log) -> None:
    r = await begin(
        log, "tamil-medical", hours=21.8, step=1232, sandbox="plain", isolated=False, usd_limit=None
    )
    r.cost = None
    await r.act(
        "search_file",
        '"OCR confidence" logs/ocr.log',
        said="1,204 pages under 0.60, mostly two-column scans",
        lines=18,
        seconds=0.3,
    )
    await r.act("edit_file", "clean/ocr.py:44-71", added=19, removed=8)
    await r.act("parse_pdf", "raw/tnmgrmu_2019_pharmacology.pdf", seconds=41)
    await r.act(
        "bash",
        "python clean/dedup.py --threshold 0.8 --in raw/ --out clean/",
        said="412,908 → 288,114 passages · 30.2% near-duplicates",
        lines=61,
        seconds=542,
    )
    await r.act(
        "run_command",
        "accelerate launch cpt.py --model Qwen/Qwen3-4b --bs 64 --lr 2e-5",
        said="torch.OutOfMemoryError: tried to allocate 3.81 GiB on cuda:2 (held by pid 8121)",
        exit_code=1,
        error=True,
        lines=40,
        seconds=20,
    )
    step = await r.act(
        "kill_session_processes",
        "tok_gpu2",
        thinking="pid 8121 is my own tokeniser job from step 1180; it is finished but holds memory.",
        seconds=1,
    )
    await r.mark(step, "accept")
    await r.act(
        "wait_for",
        "cpt 1800s until /step 500/",
        said="step 430/4200  loss 1.8841  ppl 6.58  tok/s 41.2k",
        lines=88,
        seconds=1800,
    )
    await r.act("create_file", "eval/tamil_mcq.py", added=92, removed=0)
    r.at = NOW - 11 * MINUTE
    await r.act("wait_for", "cpt 1800s until /step 1000/", finished=False)
