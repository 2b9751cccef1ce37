"""Events of a run, and the trackers that listen to them."""

from zoo_core.events.dispatch import (
    Events,
    hookimpl,
)

__all__ = [
    "Events",
    "hookimpl",
]
