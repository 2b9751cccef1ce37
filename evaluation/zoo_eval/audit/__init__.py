"""Sanity checks of the metrics: noise floor, graded damage, agreement with another implementation."""
