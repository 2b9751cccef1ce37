"""The conformance kit: what a plugin must do to be trained, scored and ranked beside the others.

    zoo check NAME                  every check of whatever is registered under the name
    pytest --zoo-plugin NAME        the same, as tests

    from zoo_core.testing import examine
    failures = [result for result in examine("my-model") if result.state == "failed"]

A check is a function of one subject (a model on some data, a sampler, a dataset, a feature network, a metric)
that returns where all is well and raises `Failed` with what is wrong and what to do. Importing this package
costs no torch.
"""

from __future__ import annotations

from zoo_core.testing.kit import Subject, checks, examine, subjects
from zoo_core.testing.results import Failed, NotApplicable, Result, perform

__all__ = ["examine", "subjects", "checks", "perform", "Subject", "Result", "Failed", "NotApplicable"]
