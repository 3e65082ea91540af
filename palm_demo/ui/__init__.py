"""The page: one subpackage per tab. Packages below this one know nothing of the page."""
