"""Costs of days before the daemon, from what a Prometheus already holds; estimates, never in a ledger.

`survey` looks which exporters a server has, `hourly` reads their hours, `host_hours` cuts these where GPUs
changed hands, and `reckoning` gives frames of them to the daemon's own `cost.advance`.
"""
