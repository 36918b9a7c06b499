"""Where bytes live: protocols in the modules here, one package an implementation."""
