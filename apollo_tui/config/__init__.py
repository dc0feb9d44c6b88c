"""Settings: `config.toml` and `keys.toml` of a home.

    config = load(home)
    key = get_key(home, "glm", os.environ, api="openai")

Every setting has a default; wrong ones are named with file and line. Keys are read anew at each
use, so a new key needs no restart.
"""

from apollo_tui.config.keys import get_key, key_names, set_key
from apollo_tui.config.read import load
from apollo_tui.config.settings import (
    Config,
    Guards,
    ModelSettings,
    Notify,
    Price,
    Retention,
    Roles,
    SandboxSettings,
    WebSettings,
)
from apollo_tui.config.template import template

__all__ = [
    "Config",
    "Guards",
    "ModelSettings",
    "Notify",
    "Price",
    "Retention",
    "Roles",
    "SandboxSettings",
    "WebSettings",
    "get_key",
    "key_names",
    "load",
    "set_key",
    "template",
]
