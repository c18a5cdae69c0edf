"""The ledger: one SQLite file, one transaction per tick, commit before publish."""
