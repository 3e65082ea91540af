"""The page: one file per tab. Nothing below this package knows that there is a page."""
