"""`python -m palm_demo --help` lists what there is, as `palm-demo --help` does where it is installed."""

from palm_demo.cli.main import main

if __name__ == "__main__":
    main()
