"""The history of threads as pure functions: what a thread sees, where a copy is cut, what a prune keeps. No I/O.

Terms. A *position* is the number of a stored row in one growing sequence. A *segment* is an append-only list of rows. It may have
one edge to a parent segment, `(parent, upto)`, which never changes. A thread has a head segment. Its *chain* is the list of the
segments that it sees, each with a bound.
"""
