"""One rollout, from its first event to its last."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from apollo_tui.client import Streamed
from apollo_tui.core.action import Actor
from apollo_tui.core.agent import Agent
from apollo_tui.core.browsing import Browser
from apollo_tui.core.channel import Channel, Interrupted
from apollo_tui.core.evaluation import Score, copy_tree, evaluate, evaluation_spec
from apollo_tui.core.left_running import LeftRunning
from apollo_tui.core.recorder import Recorder, now
from apollo_tui.core.tools import ToolResult
from apollo_tui.core.watching import FileWatch
from apollo_tui.errors import ApolloError, DiskFull
from apollo_tui.log.events import (
    EvaluationFinished,
    EvaluationStarted,
    HintViewed,
    RolloutEnded,
    SandboxReady,
    SandboxRemoved,
    StateChanged,
    StepDiscarded,
    StopRequested,
)
from apollo_tui.log.states import FINAL_STATES, WORKING_STATES
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import RolloutSpec, Usage
from apollo_tui.models import Model
from apollo_tui.paths import Home
from apollo_tui.sandbox import Sandbox, SandboxSpec
from apollo_tui.sandbox.sessions import Sessions

logger = logging.getLogger(__name__)


class Rollout:
    """Runs one rollout until it ends or the core stops. Also the `Situation` of its system tools.

    `run` never raises for anything the rollout does wrong: it ends in a final event.
    """

    def __init__(
        self,
        recorder: Recorder,
        model: Model,
        open_sandbox: Callable[[SandboxSpec], Sandbox],
        sandbox_spec: SandboxSpec,
        publish: Callable[[Streamed], None],
        home: Home,
        files: FileWatch,
    ) -> None:
        self.id = recorder.rollout
        self.recorder = recorder
        self.progress = recorder.progress
        self.browser = Browser(recorder, home)
        self.channel = Channel(paused=recorder.progress.paused)
        self.model = model
        self.folder = sandbox_spec.folder
        self.stop_requested: StopRequested | None = None
        self._open_sandbox = open_sandbox
        self._publish = publish
        self._files = files
        self._sandbox_spec = sandbox_spec
        self.sandbox = open_sandbox(sandbox_spec)
        self.sessions = Sessions(self.sandbox)
        self.left_running = LeftRunning(recorder, self.sessions)

    @property
    def spec(self) -> RolloutSpec:
        spec = self.progress.spec
        assert spec is not None
        return spec

    @property
    def has_ended(self) -> bool:
        """Its final event is written; at most its sandbox is still to be removed."""
        return self.progress.state in FINAL_STATES

    async def run(self) -> None:
        """To the final event, or until cancelled (the core stops; another one goes on)."""
        try:
            await self._run()
        except asyncio.CancelledError:
            await self._left_by_the_core()
            raise
        except DiskFull:  # it has not failed: it goes on where the log ends, once there is room
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"no room left on the disk: {error}") from error
            await self._broken(error)
        except ApolloError as error:
            await self._end("failed", error.line)
        except Exception as error:
            await self._broken(error)
        finally:
            await self.model.close()

    async def _broken(self, error: Exception) -> None:
        """What nobody foresaw ends the rollout, and is told in full in core.log."""
        logger.error("rollout %s (%s) failed", self.id, self.spec.name, exc_info=error)
        await self._end("failed", f"{type(error).__name__}: {error}; see core.log")

    async def _run(self) -> None:
        try:
            await self._prepare()
            agent = Agent(
                self.recorder,
                self.channel,
                self.model,
                Actor(self.recorder, self.channel, self.sandbox, self),
                self.sandbox.workspace_path,
                self._publish,
            )
            async with self._files, self.left_running:
                reason = await agent.work()
        except Interrupted:
            await self._stop()
        else:
            await self._final_evaluation(reason)
            await self._end("finished", reason)

    async def _prepare(self) -> None:
        if not self.progress.sandbox_was_ready:
            await asyncio.to_thread(self._lay_out_workspace)
        found = await self.sandbox.start()
        await self.recorder.record(
            SandboxReady(
                rollout=self.id,
                sandbox=self.sandbox.kind,
                isolated=self.sandbox.isolated,
                identity=self.sandbox.identity,
                reattached=found,
            )
        )
        if not self.progress.paused and self.progress.state != "running":
            await self.recorder.record(StateChanged(rollout=self.id, state="running"))

    def _lay_out_workspace(self) -> None:
        workspace = self.folder / "workspace"
        workspace.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.spec.task.workspace is not None:
            copy_tree(Path(self.spec.task.workspace), workspace)

    # --- the end -------------------------------------------------------------------------------

    async def _stop(self) -> None:
        asked = self.stop_requested
        if asked is not None and asked.evaluate:
            await self._final_evaluation()
        keep = asked is not None and asked.jobs == "leave"
        await self._end("stopped", f"stopped by {asked.by if asked else 'the operator'}", keep=keep)

    async def _end(self, state: str, reason: str, keep: bool = False) -> None:
        """The final event, and then the sandbox: what holds a rollout's end up is not its sandbox."""
        await self.recorder.record(
            RolloutEnded.model_validate(
                {
                    "rollout": self.id,
                    "state": state,
                    "reason": reason,
                    "score": self.progress.best_score,
                }
            ),
            durable=True,
        )
        if keep:
            await self.sandbox.close(remove=False)
            return
        try:
            await self.sandbox.close(remove=True)
        except ApolloError as error:
            logger.warning("rollout %s: its sandbox could not be removed: %s", self.id, error.line)
            return
        await self.recorder.record(SandboxRemoved(rollout=self.id, identity=self.sandbox.identity))

    async def _left_by_the_core(self) -> None:
        """The core stops: a model call that was cut off is said to be; everything else goes on."""
        if self.progress.attempt and self.progress.reply is None and not self.channel.stopping:
            await self.recorder.record(
                StepDiscarded(
                    rollout=self.id,
                    step=self.progress.step + 1,
                    attempt=self.progress.attempt,
                    segment=self.progress.segment,
                    why="the core was stopped",
                    usage=Usage(estimated=True),
                )
            )
        elif self.progress.state in WORKING_STATES:  # the time worked up to here counts
            await self.recorder.record(
                StateChanged.model_validate({"rollout": self.id, "state": self.progress.state})
            )
        await self.sandbox.close(remove=False)

    # --- evaluation ----------------------------------------------------------------------------

    async def _final_evaluation(self, why: str = "") -> None:
        if self.spec.task.evaluation is not None and not self.progress.final_evaluation_done:
            await self._evaluate(final=True, why=why)

    async def _evaluate(self, final: bool, why: str = "") -> Score:
        evaluation = self.spec.task.evaluation
        assert evaluation is not None
        submission = self.progress.submissions + 1
        number = 0 if final else submission
        step = self.progress.step
        await self.recorder.record(
            EvaluationStarted(
                rollout=self.id, submission=submission, step=step, final=final, why=why
            ),
            StateChanged(rollout=self.id, state="evaluating"),
        )
        folder = self.folder / "evaluations" / ("final" if final else str(submission))
        began = asyncio.get_running_loop().time()
        score = await evaluate(
            evaluation,
            self.sandbox.spec.workspace,
            folder,
            self._open_sandbox,
            evaluation_spec(self._sandbox_spec, folder, number),
        )
        await self.recorder.record(
            EvaluationFinished(
                rollout=self.id,
                submission=submission,
                step=step,
                score=score.score,
                results=score.results,
                error=score.error,
                output_ref=text_hash(score.output) if score.output else None,
                seconds=asyncio.get_running_loop().time() - began,
                final=final,
            ),
            texts=[score.output] if score.output else [],
            durable=True,
        )
        if not final and not self.progress.paused:
            await self.recorder.record(StateChanged(rollout=self.id, state="running"))
        return score

    # --- what its system tools may ask (Situation) ---------------------------------------------

    async def sleep(self, seconds: float) -> str:
        if self.progress.queue:
            return "advice is waiting"
        if self.progress.paused:
            return "the operator paused you"
        left = self.progress.time_left(now())
        if not await self.channel.sleep(seconds if left is None else min(seconds, max(0.0, left))):
            return "" if left is None or left > seconds else "the working time is over"
        if self.progress.queue:
            return "advice arrived"
        return "the operator paused you" if self.progress.paused else "you were woken up"

    async def until(self, work: Coroutine[Any, Any, None], seconds: float) -> str:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self.channel.poke())
        try:
            early = await self.sleep(seconds)
            if task.done():
                task.result()
                return ""
            return early or "it did not happen in that time"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def time_left(self) -> float | None:
        return self.progress.time_left(now())

    @property
    def action(self) -> str:
        running = self.progress.running_action
        assert running is not None
        return f"{running.step}-{running.ordinal}"

    async def submit(self) -> ToolResult:
        evaluation = self.spec.task.evaluation
        if evaluation is None:
            text = "success=false observation_type=eval\nThis task has no evaluation."
            return ToolResult(text, "failed", summary="no evaluation", error=True)
        if self.progress.submissions >= evaluation.submissions:
            text = (
                "success=false observation_type=eval\n"
                f"All {evaluation.submissions} submissions are used. The workspace is scored once "
                "more when you finish."
            )
            return ToolResult(text, "failed", summary="no submissions left", error=True)
        score = await self._evaluate(final=False)
        left = evaluation.submissions - self.progress.submissions
        if score.score is None:
            text = (
                f"success=false observation_type=eval submissions_left={left}\n"
                f"The evaluation itself failed, there is no score: {score.error}"
            )
            return ToolResult(text, "failed", summary="evaluation failed, no score", error=True)
        results = "".join(f"\n{name}: {value}" for name, value in score.results.items())
        text = (
            f"success=true observation_type=eval submissions_left={left}\n"
            f"score: {score.score:g}{results}"
        )
        return ToolResult(text, summary=f"score {score.score:g}", lines=1 + len(score.results))

    async def view_hint(self) -> ToolResult:
        hint = self.spec.task.hint
        if hint is None:
            text = "success=false observation_type=hint\nThis task has no hint."
            return ToolResult(text, "failed", summary="no hint", error=True)
        await self.recorder.record(HintViewed(rollout=self.id, step=self.progress.step))
        return ToolResult(
            f"success=true observation_type=hint\n{hint}",
            summary="viewed the hint",
            lines=hint.count("\n") + 1,
        )
