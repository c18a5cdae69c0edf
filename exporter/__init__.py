"""Exports the cost of self-hosted LLM inference to Prometheus.

The flow, and the folder of each step::

    sources.read() -> Frame -> cost.advance(state, frame, policy) -> postings -> ledger -> Report -> /metrics
    sources/          readings  cost/                               cost/       ledger/   report    metrics/

`sampler` takes one tick after the other on its own clock; `cli` is the only place that wires the parts
together.
"""
