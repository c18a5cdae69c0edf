"""A simulated host of 8 GPUs and three servers, metered by the real pipeline: no GPU, no configuration."""
