"""Sampling: one tick reads every source, posts the time since the tick before, and publishes one report."""
