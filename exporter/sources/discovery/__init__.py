"""Who holds which GPU, found out without being told: processes, pods and configuration, joined."""
