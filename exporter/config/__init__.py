"""YAML to one frozen, typed `Config`; every error says file, line, path and what to do."""
