"""A cloud's bill against the books of a host or a fleet.

`charges` and `bill_file` read rows of any bill; `host_bill` sums them by day, `fleet_bill` by machine.
`differences` names why a bill and the books differ, to the picodollar; `host_comparison` takes a host's month
by day and suggests corrections, `fleet_comparison` takes all hosts; the sheets say all of it.
"""
