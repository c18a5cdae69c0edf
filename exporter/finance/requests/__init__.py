"""Dollars per request: logs of requests, priced by the hours of ledgers."""
