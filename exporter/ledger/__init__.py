"""The books on disk: one SQLite file, one transaction per tick, commit before publish."""
