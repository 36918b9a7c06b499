"""Executes runs: admission, claiming, execution, finalizing."""
