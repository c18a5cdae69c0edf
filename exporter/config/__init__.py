"""YAML to one frozen, typed `Config`; every error says file, line, path and what to do."""

from exporter.config.load import load, parse
from exporter.config.problems import ConfigError, Problem
from exporter.config.settings import Budget, Config, ConfiguredServer
