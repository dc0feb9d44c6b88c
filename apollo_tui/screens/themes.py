"""The two themes, with look.md's values; nothing else names a colour."""

from __future__ import annotations

from textual.theme import Theme

NIGHT = Theme(
    name="apollo-night",
    dark=True,
    background="#14161a",
    surface="#1a1d22",
    panel="#22262d",
    foreground="#d8dce5",
    primary="#9db5f5",
    accent="#9db5f5",
    secondary="#8d97aa",
    success="#7dbf97",
    warning="#d4b26a",
    error="#ef7b85",
    variables={
        "text": "#d8dce5",
        "dim": "#98a0b0",
        "faint": "#727a8c",
        "line": "#30353f",
        "select": "#283046",
        "running": "#7dbf97",
        "trained": "#7dbf97",
        "paused": "#cdb57c",
        "attention": "#ffa562",
        "masked": "#c096d6",
        "trained-bg": "#17251f",
        "masked-bg": "#251d2b",
        "error-bg": "#2b1c20",
        "block-cursor-background": "#283046",
        "block-cursor-foreground": "#d8dce5",
        "input-selection-background": "#283046",
        "footer-background": "#1a1d22",
    },
)

DAY = Theme(
    name="apollo-day",
    dark=False,
    background="#fbfaf7",
    surface="#f2f1ec",
    panel="#e8e7e0",
    foreground="#22252c",
    primary="#3656c4",
    accent="#3656c4",
    secondary="#59606e",
    success="#2a7550",
    warning="#80600f",
    error="#bd2b3c",
    variables={
        "text": "#22252c",
        "dim": "#5a616f",
        "faint": "#7d838f",
        "line": "#d5d4cc",
        "select": "#dbe3f8",
        "running": "#2a7550",
        "trained": "#2a7550",
        "paused": "#80600f",
        "attention": "#b34700",
        "masked": "#7c4699",
        "trained-bg": "#e4f1e6",
        "masked-bg": "#f1e6f4",
        "error-bg": "#f8e4e4",
        "block-cursor-background": "#dbe3f8",
        "block-cursor-foreground": "#22252c",
        "input-selection-background": "#dbe3f8",
        "footer-background": "#f2f1ec",
    },
)

THEMES = (NIGHT, DAY)
