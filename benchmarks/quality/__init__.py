"""What the bundled weights can do, on fresh cases: `python -m benchmarks.quality`."""
