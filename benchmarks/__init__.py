"""Measurements of the bundled weights and of speed, one command each."""
