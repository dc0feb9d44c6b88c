"""One front end's connection: JSON-RPC 2.0, one message a line.

Requests are answered in the order they came. Deltas are dropped, never `appended`, for a front end
that does not keep up: it reads history from the log anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from apollo_tui import __version__
from apollo_tui.client import PROTOCOL, Streamed
from apollo_tui.core.supervisor import Supervisor
from apollo_tui.errors import ApolloError, CommandRefused
from apollo_tui.log import commands
from apollo_tui.paths import Home

logger = logging.getLogger(__name__)

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS, REFUSED, BROKEN = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32000,
    -32603,
)
COALESCE = 0.05  # seconds: deltas and `appended` are told at most this often


class Connection:
    LIMIT = 16 << 20  # bytes of one message
    BACKLOG = 1 << 20  # bytes not yet taken by the front end, after which deltas are dropped

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        supervisor: Supervisor,
        home: Home,
        end_core: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._supervisor = supervisor
        self._home = home
        self._end_core = end_core
        self._following = False
        self._seq = 0
        self._changed: set[str] = set()
        self._deltas: dict[tuple[str, int, str, str], list[str]] = {}
        self._flush: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        try:
            self._refuse_other_users()
            while line := await self._reader.readline():
                await self._answer(line)
        except (ValueError, asyncio.LimitOverrunError) as error:
            self._send(_error(None, INVALID_REQUEST, f"a message is too long: {error}"))
        except OSError as error:
            logger.info("a front end went away: %s", error)
        finally:
            self.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def close(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._following = False
        self._writer.close()

    def _refuse_other_users(self) -> None:
        """The socket's mode keeps others out; so does this, should the home's mode be changed."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (os.getuid(), 0):
            raise PermissionError(f"user {uid} is not the owner of this core")

    # --- requests ------------------------------------------------------------------------------

    async def _answer(self, line: bytes) -> None:
        number: Any = None
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("a message is a JSON object")
            number = message.get("id")
            method, params = message["method"], message.get("params") or {}
            if not isinstance(method, str) or not isinstance(params, dict):
                raise ValueError("method is a text and params an object")
        except (ValueError, KeyError, RecursionError) as error:
            code = PARSE_ERROR if isinstance(error, json.JSONDecodeError) else INVALID_REQUEST
            self._send(_error(number, code, f"not a JSON-RPC request: {error}"))
            return
        self._send(await self._result(number, method, params))
        await self._writer.drain()

    async def _result(self, number: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await self._do(method, params)
        except ValidationError as error:
            return _error(number, *_what_is_wrong(method, error))
        except ApolloError as error:
            data = {"type": type(error).__name__, "exit_code": error.exit_code}
            return _error(number, REFUSED, error.line, data)
        except Exception as error:
            logger.exception("the command %s failed", method)
            why = f"the core failed on {method}: {type(error).__name__}: {error}; see core.log"
            return _error(number, BROKEN, why)
        return {"jsonrpc": "2.0", "id": number, "result": result}

    async def _do(self, method: str, params: dict[str, Any]) -> Any:
        if method == "hello":
            return self._hello(params)
        command = commands.command_adapter.validate_python({**params, "method": method})
        match command:
            case commands.Status():
                return self._status()
            case commands.Shutdown():
                self._end_core()
                return {"rollouts": self._supervisor.running}
            case commands.Follow():
                self._following = True
                return {}
            case _:
                return await self._supervisor.obey(command)

    def _hello(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("protocol") != PROTOCOL:
            raise CommandRefused(
                f"the core of {self._home.path} is version {__version__} and speaks protocol "
                f"{PROTOCOL}, this program speaks {params.get('protocol')}; restart the core with: "
                "apollo-tui core restart"
            )
        return {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "socket": str(self._home.socket),
            "version": __version__,
            "rollouts": self._supervisor.running,
        }

    # --- notifications -------------------------------------------------------------------------

    def tell_appended(self, seq: int, rollouts: frozenset[str]) -> None:
        if self._following:
            self._seq = seq
            self._changed |= rollouts
            self._flush_soon()

    def tell_streamed(self, streamed: Streamed) -> None:
        if not self._following:
            return
        key = (streamed.rollout, streamed.step, streamed.kind, streamed.tool)
        self._deltas.setdefault(key, []).append(streamed.text)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(COALESCE, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        deltas, self._deltas = self._deltas, {}
        if self._writer.transport.get_write_buffer_size() < self.BACKLOG:
            for (rollout, step, kind, tool), pieces in deltas.items():
                streamed: Any = Streamed(rollout, step, kind, "".join(pieces), tool)  # type: ignore[arg-type]
                self._notify("delta", asdict(streamed))
        if self._seq:
            self._notify("appended", {"seq": self._seq, "rollouts": sorted(self._changed)})
            self._seq, self._changed = 0, set()

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


def _error(
    number: Any, code: int, message: str, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": number, "error": error}


def _what_is_wrong(method: str, error: ValidationError) -> tuple[int, str, dict[str, Any]]:
    first = error.errors()[0]
    data = {"type": "UsageError", "exit_code": 2}
    if first["type"] == "union_tag_invalid":
        return UNKNOWN_METHOD, f"the core does not know the command {method}", data
    where = ".".join(str(part) for part in first["loc"][1:]) or "the command"
    return INVALID_PARAMS, f"{method}: {where}: {first['msg']}", data
