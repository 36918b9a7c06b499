"""Storage: the modules here define the protocols; each implementation is a package of its own."""
