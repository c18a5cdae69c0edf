"""Regions of pages that are generated: each module names its regions and the functions that write them."""
