"""The heart, as pure functions: what a thread sees, where a copy is cut, what a prune keeps. No I/O.

Terms. A *position* is the place of a stored row in one ever-growing sequence. A *segment* is an append-only strand of rows
that may have one parent edge `(parent, upto)`, fixed at birth. A thread is a name for a head segment; its *chain* are the
segments it sees, each up to a bound.
"""
