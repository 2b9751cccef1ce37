"""Weights of genzoo: data only. genzoo finds this package by its name and does not import it."""
