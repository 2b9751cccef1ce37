"""Intervals and comparisons of metrics."""
