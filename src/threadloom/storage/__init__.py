"""Where bytes live: protocols in `base`, one package an implementation."""
