"""The command `zoo lottery`: how much of a score is due to its seeds."""
