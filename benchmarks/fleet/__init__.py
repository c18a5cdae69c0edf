"""A fleet of 2,000 simulated hosts under a real Prometheus: what scraping, rules and dashboards take.

`hosts` makes the pages, `service` serves them, `history` writes the past, `panels` asks
what the dashboards ask, and `prometheus` is the process that is measured.
"""
