"""Savings: GPU time of the last days that could have been spared, at present prices. Pure.

Nothing here is posted. Each GPU-hour belongs to one finding, so that findings can be added up.
"""
