-- How the content is sealed: the check values of keys (docs/encryption.md). Never a key itself.

CREATE TABLE seals (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
