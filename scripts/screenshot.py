"""Make docs/console.svg: the real console while the demo runs. python3 scripts/screenshot.py

Needs what the demo needs; run it with the environment's Python: .venv/bin/python scripts/screenshot.py
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from apollo_tui.cli.run import has_ended, start_demo
from apollo_tui.client import Client
from apollo_tui.log.read import History
from apollo_tui.paths import Home
from apollo_tui.screens.app import ApolloApp

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "console.svg"
WATCH = 26.0  # seconds of the demo before the picture


async def take(home: Home, size: tuple[int, int], seconds: float) -> str:
    """The console after so many seconds of the demo: one rollout advised, one action rejected."""
    async with await Client.connect(home, annotator="ana") as client:
        rollouts = await start_demo(client)
        app = ApolloApp(home, "ana", colour=True)
        try:
            async with app.run_test(size=size) as pilot:
                await asyncio.sleep(seconds)
                await client.advise(rollouts[1], "Measure on held-out rows before you believe it.")
                await client.pause(rollouts[1])
                await pilot.press("3", "x")
                await asyncio.sleep(3)
                picture = app.export_screenshot(title="apollo-tui")
        finally:
            for rollout in rollouts:
                await client.stop(rollout)
            history = History(home.database)
            async for _ in client.follow():
                if all(has_ended(row) for row in history.rollouts()):
                    break
            history.close()
            await client.shutdown()
    # The reader's own monospaced font, not one from the network.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)
    return re.sub(r"Fira Code", "DejaVu Sans Mono", picture)


def main() -> None:
    columns, lines = (int(word) for word in (sys.argv[1:3] or ("150", "42")))
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(asyncio.run(take(Home(Path(folder) / "home"), (columns, lines), WATCH)))
    print(PICTURE)


if __name__ == "__main__":
    main()
