"""Serves the page: in this process alone, on ZeroGPU, or with its models on replicas of a Ray cluster."""
