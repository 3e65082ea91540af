"""The page with its models on replicas. A package, for its replicas import what is here."""
