"""Sharing weights: a run as a bundle that goes to a folder or the hub, and a bundle as a run."""
