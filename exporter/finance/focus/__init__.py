"""A month in the FinOps Foundation's form of bills, by version: charges, allocation, columns and rows."""

from exporter.finance.focus.charges import ChargePeriod, FocusCharge, billing_period, charges, dealt
from exporter.finance.focus.columns import COLUMNS, NEWEST, PROVIDER, VERSIONS, FocusVersion, decimal
from exporter.finance.focus.dataset import FocusForm, focus, formulas, header, rows
