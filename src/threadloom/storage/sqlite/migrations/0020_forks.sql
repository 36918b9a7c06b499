-- forks
CREATE TABLE forks (
    child INTEGER PRIMARY KEY,                      -- `threads.seq` of a copy: never given again, as its id may be
    thread_id TEXT NOT NULL,                        -- the id of the copy
    parent INTEGER NOT NULL,                        -- `threads.seq` of what it is a copy of
    root INTEGER NOT NULL,                          -- and of what all above it descend from,
    root_id TEXT NOT NULL,                          -- with its id
    checkpoint_id TEXT,                             -- the newest root checkpoint it took along, NULL: there was none
    at INTEGER NOT NULL,
    user_id TEXT                                    -- who made it, NULL where users are not told apart
);
CREATE INDEX forks_parent ON forks (parent);
DROP INDEX threads_copies;
ALTER TABLE threads DROP COLUMN copied_from;
