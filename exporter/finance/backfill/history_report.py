"""The history of a fleet as text, JSON and CSV. Pure."""
