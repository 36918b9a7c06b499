"""Wake-ups and live events between those who make runs, execute them and watch them. Never the only copy of anything."""
