"""The one table of metrics, and its rendering."""
