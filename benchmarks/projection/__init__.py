"""How far the projection is from the truth, in simulated months that a real engine evaluates."""
