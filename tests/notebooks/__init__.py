"""The notebooks: executed on every backend, and what is committed of them."""
