"""Making a run happen: admission, claiming, executing, settling."""
