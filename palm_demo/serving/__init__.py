"""The page served: by this process alone, or with its models on replicas of a Ray cluster."""
