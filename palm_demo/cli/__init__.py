"""`palm-demo`: what a session can do, from the command line."""
