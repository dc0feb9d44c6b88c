"""Every error a person can meet, as one tree.

ApolloError                 one line: what is wrong, where, what to do      exit code 1
├── UsageError              the command was called wrongly                  exit code 2
│   └── UnknownName         no such rollout, task, model, setting
├── HomeError               $APOLLO_HOME cannot be used
├── ConfigError             config.toml or keys.toml is wrong (file and line)
├── TaskError               a task's files are wrong (file and field)
├── LogError                the SQLite log
│   ├── LogTooNew           written by a newer apollo-tui
│   ├── DiskFull            no room on the disk for what happens
│   └── LogCorrupt          damaged, or a text is missing
├── CoreError               the core process
│   ├── CoreUnreachable     it does not answer
│   ├── CoreRunning         another core owns this home
│   └── CommandRefused      it understood, and says no
├── ExportError             an export cannot be made or finished
├── ImportFailed            a file of another program cannot be read (file and place)
├── WebError                a page or a search on an agent's behalf: refused, or it failed
├── SandboxError            the place where actions run
│   ├── SandboxUnavailable  this kind cannot run here
│   └── PathRefused         a path leads out of its folder, or is no plain file
└── ModelError              the model's API
    ├── KeyMissing          no key, or the API refused it
    ├── ModelUnavailable    down, overloaded, rate limited: try again later
    ├── ReplyBroken         the reply ended early or was not what the API promises
    └── ContextTooLong      the prompt does not fit the model's window
"""

from __future__ import annotations


class ApolloError(Exception):
    """What a person reads: one line that says what is wrong, where, and what to do."""

    exit_code = 1

    @property
    def line(self) -> str:
        """The message folded to a single line."""
        return " ".join(str(self).split())


class UsageError(ApolloError):
    exit_code = 2


class UnknownName(UsageError):
    pass


class HomeError(ApolloError):
    pass


class ConfigError(ApolloError):
    pass


class TaskError(ApolloError):
    pass


class LogError(ApolloError):
    pass


class LogTooNew(LogError):
    pass


class DiskFull(LogError):
    pass


class LogCorrupt(LogError):
    pass


class CoreError(ApolloError):
    pass


class CoreUnreachable(CoreError):
    pass


class CoreRunning(CoreError):
    pass


class CommandRefused(CoreError):
    pass


class ExportError(ApolloError):
    pass


class ImportFailed(ApolloError):
    pass


class WebError(ApolloError):
    pass


class SandboxError(ApolloError):
    pass


class SandboxUnavailable(SandboxError):
    pass


class PathRefused(SandboxError):
    pass


class ModelError(ApolloError):
    pass


class KeyMissing(ModelError):
    pass


class ModelUnavailable(ModelError):
    """Asking again later may help. `retry_after` is in seconds where the API named it."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ReplyBroken(ModelError):
    pass


class ContextTooLong(ModelError):
    pass
