"""Result files on disk: reading them with bounds, verification states, conflicts, attachments."""

from zoo_eval.store.conflicts import Conflict, separate
from zoo_eval.store.files import (
    Bad,
    Collection,
    Entry,
    Reader,
    Score,
    chosen_roots,
    collect,
    result_files,
)
from zoo_eval.store.states import STATES, TIERS, Verdict, tier_of

__all__ = [
    "STATES",
    "TIERS",
    "Bad",
    "Collection",
    "Conflict",
    "Entry",
    "Score",
    "Verdict",
    "chosen_roots",
    "collect",
    "Reader",
    "result_files",
    "separate",
    "tier_of",
]
