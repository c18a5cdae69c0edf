"""Costs of days before the daemon, from what a Prometheus already holds; estimates, never in a ledger.

`survey` looks which exporters a server has, `hourly` reads their hours, `host_hours` cuts these where GPUs
changed hands, `past_frames` makes frames of them, and `reckoning` gives these to the daemon's own
`cost.advance`. `past_answer` and `past_records` sum up the facts that come of it.
"""
