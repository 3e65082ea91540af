"""From a model to text and back. Importing it imports nothing: settings are read without torch."""
