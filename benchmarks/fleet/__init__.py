"""A fleet of 1,000 simulated hosts under a real Prometheus: what scraping and the rules take.

`hosts` makes the pages, `service` serves them, `history` writes the past that rules look back on,
`prometheus` is the process that is measured.
"""
