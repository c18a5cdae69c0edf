"""What the outside sees: the one table of metrics, its rendering, the HTTP server, the page.

`metric` says what a row of the table is; `money`, `gpus`, `servers` and `meter` hold the rows by subject;
`table` collects them. `rendering` turns a report into bytes, `server` answers requests.
"""
