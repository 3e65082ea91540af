"""The command line `palm-demo`."""
