"""The ledger: one SQLite file, one transaction per tick, commit before publish.

A few nouns carry the package:

- **family**: the sums of one kind, a table each, such as cost by owner and phase (`families`).
- **grain**: the period of a family's sums: the whole life of the ledger, a minute, an hour or a day.
- **mark**: the value of a counter at its last read. The next read counts from there (`marks`).
- **carry**: the fraction of a picodollar that a GPU's accrual left over. It is stored with the marks.
- **pending**: what was accepted and is not in the file yet (`commit`). Each write contains all of it.
- **change**: new whole values of one family and period (`totals`). Written twice, they count once.

A tick passes these steps, and is accepted whole or not at all:

1. `Ledger.post` sums up its segments (`history.TickSums`), and adds them to what is pending.
2. `Store.write` adds that to the totals of the last commit (`Totals.with_added`), writes the changes, the
   history, the unpriced time and the marks in one transaction, and returns the `Contents` after it.
3. `Ledger` publishes these contents. `contents.committed_totals` serves them.
"""
