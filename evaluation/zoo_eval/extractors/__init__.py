"""Registered feature extractors, and the fetching of their weights."""
