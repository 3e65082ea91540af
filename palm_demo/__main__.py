"""`python -m palm_demo --help` lists what there is."""

import sys

from palm_demo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
