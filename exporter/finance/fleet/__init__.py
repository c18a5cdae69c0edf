"""The month of all hosts: from ledgers, statements and Prometheus."""
