"""Costs of days before the daemon, from what a Prometheus already holds; estimates, never in a ledger.

`found` looks which exporters a server has, `hourly` reads their hours, `host_hours` makes frames of them, and
`reckoning` gives those to the daemon's own `cost.advance`.
"""
