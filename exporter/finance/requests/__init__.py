"""Dollars per request: logs of requests, priced by the hours of ledgers."""

from exporter.finance.requests.division import FAMILIES, Hours, RequestHour, add_history
from exporter.finance.requests.log_file import RequestFileError, RequestLog, TemporaryFolderError
from exporter.finance.requests.sheet import ATTRIBUTE, FIELDS, PricedRequests
