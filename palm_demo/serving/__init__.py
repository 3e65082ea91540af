"""The page served: by this process alone, on ZeroGPU, or with its models on replicas of a Ray cluster."""
