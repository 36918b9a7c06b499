"""`docs/limits.md` is the table of bounds in the code, row by row."""

from tests.docs.tables import codes, rows
from threadloom.services.requests.bounds import TABLE


def test_the_page_tells_of_every_bound_and_of_no_other():
    told = {codes(row[0])[0]: tuple(row[1:]) for row in rows("limits.md", "Limit")}
    assert told == {name: (f"{bound.most:,} {bound.unit}", bound.fields) for name, bound in TABLE.items()}
