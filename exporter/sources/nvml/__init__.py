"""GPUs, as NVML reports them: one folder for the only user of `pynvml`."""
