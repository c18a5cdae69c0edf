"""What self-hosted LLM inference costs, told to Prometheus.

The flow, and the folder of each step::

    sources.read() -> Frame -> cost.advance(state, frame, terms) -> postings -> ledger -> Report
    sources/          readings  cost/                               cost/       ledger/   exposition/

`sampler` turns the crank on its own clock; `cli` is the only place that wires the parts together.
"""
