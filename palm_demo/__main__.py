"""Runs the command line in a checkout: `python -m palm_demo --help`, as `palm-demo --help` when
installed."""

from palm_demo.cli.main import main

if __name__ == "__main__":
    main()
