"""A month in the FinOps Foundation's form of bills: its charges, and columns of each version."""
