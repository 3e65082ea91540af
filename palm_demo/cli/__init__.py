"""`palm-demo`: what a session can do, from the command line. One file per group of verbs."""
