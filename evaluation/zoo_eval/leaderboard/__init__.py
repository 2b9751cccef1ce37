"""The leaderboard: results that may be compared, ranked as far as they differ significantly."""
