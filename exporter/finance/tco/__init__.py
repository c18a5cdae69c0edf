"""Total cost of ownership: owned, rented, hosted and hybrid serving over years. Pure but for files.

`scenario` holds what is assumed; `scenario_files` reads it from YAML. `costs` calculates
its months in dollars. `breakeven` compares loads and prices. `measurement` takes load and cost from the
ledger. `answer` holds the results; `text_report`, `json_report` and `chart` write them.

What the words mean:

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
