"""The verbs of the ledger: month, chargeback, FOCUS, reconcile, tco. Nothing in the daemon imports it."""
