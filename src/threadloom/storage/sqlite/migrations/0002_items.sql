-- Items of the long-term store and their vectors.

CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never reused: vectors are cached with the item they belong to
    ns BLOB NOT NULL,                               -- UTF-8, a NUL after each label: whole-label prefixes are ranges
    key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ttl_minutes REAL,
    expires_at INTEGER,
    value BLOB NOT NULL                             -- JSON, exactly as it is answered; last, so the rest is read without it
);
CREATE UNIQUE INDEX items_place ON items (ns, key);
CREATE INDEX items_below ON items (ns, updated_at, key, expires_at);
CREATE INDEX items_updated ON items (updated_at DESC, ns, key, expires_at);
CREATE INDEX items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE item_vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never reused, and a vector never changes: cached by id
    item INTEGER NOT NULL REFERENCES items ON DELETE CASCADE,
    ns BLOB NOT NULL,                               -- ns and expires_at repeat the item's, for one scan without a join
    dims INTEGER NOT NULL,
    expires_at INTEGER,
    vector BLOB NOT NULL                            -- float32, little-endian, of unit length (or all zero)
);
CREATE INDEX item_vectors_item ON item_vectors (item, dims);
CREATE INDEX item_vectors_below ON item_vectors (dims, ns, expires_at);
