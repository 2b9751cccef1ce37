"""Registered metrics, one module each; what several share stands in `zoo_eval.statistics`."""
