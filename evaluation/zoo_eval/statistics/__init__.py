"""Statistics of scores: intervals within a run, extrapolation to infinitely many samples, ranking of rows."""
