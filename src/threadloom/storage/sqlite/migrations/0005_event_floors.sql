-- Up to where the stored v2 events of a thread may be gone: their numbers are not given again, and who asks for what came after
-- an earlier one is told so.

CREATE TABLE event_floors (
    thread_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
