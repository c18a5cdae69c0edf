"""What a Prometheus, Thanos, Mimir or VictoriaMetrics holds of a fleet."""
