"""What serving a load costs: owned, rented, hosted, on another GPU, for fewer hours. Pure but for files.

`advise` lists findings, `advise --what-if` compares choices for measured hours, `tco` compares a scenario's
options over years. Terms of the comparisons:

- a year is twelve equal months of `hours_per_month`: 730 (8760 hours a year) unless the scenario says
  otherwise. The ledger's year has 8766 hours; 730.5 is that year's month.
- utilization is the part of what hosts could serve at their best that is served, on the mean of a day.
- growth compounds from year to year; a year's load is its mean. Hosts are added at the beginning of a year
  whose load passes what the hosts are planned to serve.
- at the end of its life a host is replaced by the same one at the price of that year, unless told not to.
- the break-even month of A against B is the first at whose end less has been paid for A than for B.
- break-even tokens per day are tokens of all kinds, in the mix of the load, at which the horizon costs the
  same with hosts as with bought tokens, the load being steady.
"""
