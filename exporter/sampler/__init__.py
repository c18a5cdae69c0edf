"""Turns the crank: reads every source, advances the books, publishes one report a tick."""
