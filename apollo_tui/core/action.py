"""One action: started durably, run once, its outcome recorded.

Running an action that had started before a crash is the same code: its job is launched under the
same id, which is harmless when it ran, and its outcome is read from its files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel

from apollo_tui.core.channel import Channel, Interrupted
from apollo_tui.core.recorder import Recorder, now
from apollo_tui.core.tools import InvalidCall, SandboxTool, Situation, SystemTool, ToolResult
from apollo_tui.core.tools.observation import observation
from apollo_tui.core.tools.registry import allowed_tools, read_call
from apollo_tui.errors import SandboxError
from apollo_tui.log.events import ActionFinished, ActionStarted, SandboxLost, SandboxReady
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import Disposition, ToolCall
from apollo_tui.sandbox import Job, Outcome, Sandbox

READ_AT_MOST = 4 << 20  # bytes of a job's output that are read into memory
GRACE = 2.0  # seconds between TERM and KILL when a person stops an action

LOST = (
    "The program that runs you was restarted while this action ran, and nobody can say how it "
    "ended. It was not run again. Look at the state of things before you go on."
)
STOPPED = "The operator stopped this action."


class Actor:
    """Executes a rollout's actions, in its sandbox or in the core."""

    def __init__(
        self, recorder: Recorder, channel: Channel, sandbox: Sandbox, situation: Situation
    ) -> None:
        self.recorder = recorder
        self.rollout = recorder.rollout
        self.channel = channel
        self.sandbox = sandbox
        self.situation = situation

    async def act(
        self, step: int, ordinal: int, call: ToolCall, footer: Callable[[], str]
    ) -> tuple[ToolResult, str]:
        """Run one action; returns its result and the observation as the model reads it.

        Raises Interrupted when the rollout is stopped; the outcome is recorded before.
        """
        began = now()
        spec = self.recorder.progress.spec
        assert spec is not None
        try:
            if ordinal > spec.task.actions_per_step:
                raise InvalidCall(_one_too_many(spec.task.actions_per_step))
            tool, arguments = read_call(call, allowed_tools(spec))
        except InvalidCall as refused:
            return await self._finish(step, ordinal, refused.result, footer, began)
        running = self.recorder.progress.running_action
        again = running is not None
        job = tool.job(f"{step}-{ordinal}", arguments) if isinstance(tool, SandboxTool) else None
        if running is not None:
            began = running.at
        else:
            await self._start(step, ordinal, tool.name, job)
            began = now()
        try:
            if isinstance(tool, SandboxTool):
                assert job is not None
                result = await self._in_sandbox(tool, arguments, self._within_the_limit(job))
            else:
                result = await self._in_core(tool, arguments, again)
        except Interrupted:
            stopped = _made_up("killed", STOPPED, "stopped by the operator")
            await self._finish(step, ordinal, stopped, footer, began, synthetic=True)
            raise
        synthetic = result.disposition == "unknown"
        return await self._finish(step, ordinal, result, footer, began, synthetic=synthetic)

    async def _in_core(self, tool: SystemTool, arguments: BaseModel, again: bool) -> ToolResult:
        if again and not tool.repeatable:
            return _made_up("unknown", LOST, "outcome unknown")
        try:
            return await self.channel.unless_stopped(tool.run(arguments, self.situation))
        except SandboxError as error:
            return await self._sandbox_lost(error)

    async def _in_sandbox(self, tool: SandboxTool, arguments: BaseModel, job: Job) -> ToolResult:
        try:
            outcome = await self._outcome(job)
            output = await read_output(self.sandbox, job.id, outcome)
        except SandboxError as error:
            return await self._sandbox_lost(error)
        return tool.result(arguments, outcome, output)

    def _within_the_limit(self, job: Job) -> Job:
        """The job, ending with the rollout's working time at the latest."""
        left = self.recorder.progress.time_left(now())
        if left is None or (job.timeout is not None and job.timeout <= left):
            return job
        return replace(job, timeout=max(1.0, left))

    async def _outcome(self, job: Job) -> Outcome:
        try:
            await self.sandbox.launch(job)
        except SandboxError as error:  # it is gone, so nothing was handed over
            await self._start_again(error)
            await self.sandbox.launch(job)
        try:
            return await self.channel.unless_stopped(self.sandbox.wait(job.id))
        except Interrupted:
            await self.sandbox.kill(job.id, GRACE)
            await self.sandbox.wait(job.id)
            raise

    async def _sandbox_lost(self, error: SandboxError) -> ToolResult:
        """The place itself broke in the middle: say so, and make it again for what follows."""
        await self._start_again(error)
        text = (
            f"The sandbox was lost while this action ran ({error.line}). It was started again; "
            "processes are gone, files in the workspace are still there."
        )
        return _made_up("unknown", text, "the sandbox was lost")

    async def _start_again(self, error: SandboxError) -> None:
        await self.recorder.record(SandboxLost(rollout=self.rollout, why=error.line))
        await self.sandbox.start()
        await self.recorder.record(
            SandboxReady(
                rollout=self.rollout,
                sandbox=self.sandbox.kind,
                isolated=self.sandbox.isolated,
                identity=self.sandbox.identity,
            )
        )

    async def _start(self, step: int, ordinal: int, tool: str, job: Job | None) -> None:
        """Record that the action starts; a pause that came first holds it until the resume."""
        started = ActionStarted(
            rollout=self.rollout,
            step=step,
            ordinal=ordinal,
            tool=tool,
            job=None if job is None else job.id,
        )
        while not await self.recorder.decide(
            lambda progress: () if progress.paused else (started,), durable=True
        ):
            await self.channel.gate()

    async def _finish(
        self,
        step: int,
        ordinal: int,
        result: ToolResult,
        footer: Callable[[], str],
        began: int,
        synthetic: bool = False,
    ) -> tuple[ToolResult, str]:
        observation = result.text + footer()
        texts = [observation, *result.texts]
        if result.full_output is not None:
            texts.append(result.full_output)
        await self.recorder.record(
            *result.events,
            ActionFinished(
                rollout=self.rollout,
                step=step,
                ordinal=ordinal,
                disposition=result.disposition,
                observation_ref=text_hash(observation),
                output_ref=None if result.full_output is None else text_hash(result.full_output),
                summary=result.summary[:400],
                lines=result.lines,
                exit_code=result.exit_code,
                seconds=max(0, now() - began) / 1e6,
                added=result.added,
                removed=result.removed,
                synthetic=synthetic,
                error=result.error,
                finishes=result.finishes,
            ),
            texts=texts,
            durable=True,
        )
        self.situation.left_running.take_up()
        return result, observation


async def read_output(sandbox: Sandbox, job: str, outcome: Outcome) -> bytes:
    """A job's output; of a very long one its beginning and its end."""
    if outcome.kept_bytes <= READ_AT_MOST:
        return await sandbox.output(job)
    half = READ_AT_MOST // 2
    head = await sandbox.output(job, 0, half)
    tail = await sandbox.output(job, outcome.kept_bytes - half, half)
    left_out = f"\n… {outcome.output_bytes - 2 * half:,} bytes left out …\n"
    return head + left_out.encode() + tail


def _one_too_many(allowed: int) -> ToolResult:
    text = (
        f"This action was not run: a reply may have {allowed} "
        f"action{'s' if allowed > 1 else ''}, and this was one too many. Propose it again."
    )
    return _made_up("invalid", text, "not run: one action too many")


def _made_up(disposition: Disposition, text: str, summary: str) -> ToolResult:
    """What the program says in place of an observation."""
    said = observation(disposition, now(), success=False, message=text)
    return ToolResult(said, disposition, summary=summary, error=True)
