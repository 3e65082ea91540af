"""From a model to text and back.

Importing this package imports nothing else, so settings are read without torch.
"""
