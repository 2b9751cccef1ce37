"""Handing in a result, and verifying one against its run."""

from zoo_eval.submission.submit import Submission, submission, write_submission
from zoo_eval.submission.verify import verify

__all__ = ["Submission", "submission", "verify", "write_submission"]
