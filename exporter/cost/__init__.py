"""The cost model: pure functions from data to data. No I/O, no clock, no log."""
