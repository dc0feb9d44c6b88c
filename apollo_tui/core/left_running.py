"""What actions left running: commands of sessions, said in the log when they are left and when they end."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from apollo_tui.core.recorder import Recorder
from apollo_tui.errors import SandboxError
from apollo_tui.log.events import JobEnded, JobStarted
from apollo_tui.sandbox.sessions import Command, Refused, Session, Sessions

COMMAND_LINE = 400  # characters


class LeftRunning:
    """While open, follows one rollout's commands to their ends. What a core that died followed, the
    next one takes up."""

    def __init__(self, recorder: Recorder, sessions: Sessions) -> None:
        self._recorder = recorder
        self._sessions = sessions
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self.take_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following; nothing is ended."""
        for following in self._followed.values():
            following.cancel()
        await asyncio.gather(*self._followed.values(), return_exceptions=True)

    def started(self, session: Session, command: Command) -> JobStarted:
        """That the running action leaves this command running; for the record of its end."""
        action = self._recorder.progress.running_action
        assert action is not None
        return JobStarted(
            rollout=self._recorder.rollout,
            step=action.step,
            ordinal=action.ordinal,
            job=command.id,
            session=session.name,
            command_line=" ".join(command.text.split())[:COMMAND_LINE],
        )

    def take_up(self) -> None:
        """Follow everything that the log says was left running."""
        for job, over in self._recorder.progress.jobs.items():
            if not over and job not in self._followed:
                self._followed[job] = asyncio.create_task(self._follow(job))

    async def settle(self) -> None:
        """Return when every end there has been is recorded."""
        for job, following in list(self._followed.items()):
            if not following.done() and await self._is_over(job):
                await following

    async def _is_over(self, job: str) -> bool:
        found = await self._sessions.command(job)
        return found is None or found[1].is_over

    async def _follow(self, job: str) -> None:
        try:
            found = await self._sessions.command(job)
            if found is None:
                raise SandboxError(f"nothing is known of {job}")
            command = await found[0].ended(job)
            code = command.exit_code
            why: str = "" if command.ended == "exited" else command.ended
        except (SandboxError, Refused) as error:
            code, why = None, str(error)
        ended = JobEnded(rollout=self._recorder.rollout, job=job, exit_code=code, why=why)
        await self._recorder.record(ended)
