"""Which of the published or default settings a configuration is nearest to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bleep_sc.models.methods import METHODS


def preset_of(method: str, config: dict[str, Any]) -> str:
    """Return the preset that a configuration differs least from, and in what; empty for methods without one."""
    kind = METHODS[method].load("config")
    if kind is None:
        return ""
    presets = {f"{kind.__name__}()": asdict(kind()), f"{kind.__name__}.paper()": asdict(kind.paper())}
    changed = {
        name: {field: value for field, value in config.items() if preset.get(field, value) != value}
        for name, preset in presets.items()
    }
    nearest = min(changed, key=lambda name: len(changed[name]))
    own = ", ".join(f"{field}={value!r}" for field, value in changed[nearest].items())
    return f"{nearest} with {own}" if own else nearest
