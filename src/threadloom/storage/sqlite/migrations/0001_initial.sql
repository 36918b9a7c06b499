-- The tables of release 0.1. Moments are microseconds since 1970 (UTC); JSON is text.

-- The lineage: segments, heads, checkpoints, pending writes, blobs (docs/architecture.md, "How a copy works"). Positions, segment
-- ids and eras come from one sequence, which the writer keeps in memory: one above the largest ever stored.

CREATE TABLE positions (next INTEGER NOT NULL);     -- one row: all positions below were used when rows were last deleted
INSERT INTO positions VALUES (1);

CREATE TABLE segments (
    id INTEGER PRIMARY KEY,                         -- never reused: edges are cached by id
    parent INTEGER REFERENCES segments,
    upto INTEGER,                                   -- only positions <= upto of the parent are visible
    branch_at INTEGER                               -- a fork in place: of what is inherited, later positions are not in the current state
);
CREATE INDEX segments_parent ON segments (parent, upto) WHERE parent IS NOT NULL;       -- most segments have none

CREATE TABLE heads (
    thread_id TEXT PRIMARY KEY,
    seg INTEGER NOT NULL REFERENCES segments,           -- the segment that the thread writes to
    era INTEGER NOT NULL                            -- changes whenever a row is removed from the thread's view
) WITHOUT ROWID;
CREATE INDEX heads_seg ON heads (seg);

-- What a thread saw before its head was moved: a former head is a row of `heads` too, under a name of its own.

CREATE TABLE former_heads (
    number INTEGER PRIMARY KEY,                          -- in the order in which the thread was moved away from them
    head TEXT NOT NULL UNIQUE,                       -- its `heads.thread_id`
    thread_id TEXT NOT NULL,
    checkpoint_id TEXT,                              -- the newest root checkpoint that it sees, NULL: none
    moved_at INTEGER NOT NULL,
    reason TEXT NOT NULL,                            -- what moved the thread away: reset, promote, undo
    record TEXT NOT NULL                             -- JSON: what the record of the thread showed: its error, and the graph of the state
);
CREATE INDEX former_heads_thread ON former_heads (thread_id, number);

CREATE TABLE tags (
    thread_id TEXT NOT NULL,
    name TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,                     -- a root checkpoint
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,                         -- when it was last set
    PRIMARY KEY (thread_id, name)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    pos INTEGER PRIMARY KEY,
    seg INTEGER NOT NULL,
    namespace TEXT NOT NULL,                               -- checkpoint namespace, '' for the root graph
    checkpoint_id TEXT NOT NULL,                              -- checkpoint id
    parent TEXT,                                    -- checkpoint id
    digests BLOB,                                   -- JSON text: digests of the checkpoint and of its large values
    messages BLOB,                                  -- JSON: its messages (lineage/messages.py), NULL: those of its parent
    meta TEXT NOT NULL,                             -- checkpoint metadata as JSON, for filters
    refs TEXT NOT NULL,                             -- {channel: blob id}
    small TEXT NOT NULL,                            -- {channel: bytes} of the values in body, 0 where the parent had it
    body_type TEXT NOT NULL,                            -- serializer's type of body
    body BLOB NOT NULL                              -- the checkpoint without its large channel values. Last: others are read alone
);
CREATE INDEX checkpoints_id ON checkpoints (checkpoint_id, namespace, seg, pos);     -- not unique: a checkpoint put again is a new row, the newest is valid
CREATE INDEX checkpoints_seg ON checkpoints (seg, namespace, pos);         -- for the newest checkpoint and the history
CREATE INDEX cks_pos ON checkpoints (seg, pos);             -- for rows stored after a position, in any namespace

CREATE TABLE writes (
    pos INTEGER PRIMARY KEY,
    seg INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,                              -- id of the checkpoint that the write is pending on
    task_id TEXT NOT NULL,
    idx INTEGER NOT NULL,                           -- index within the task's writes, negative for special channels
    channel TEXT NOT NULL,
    digest BLOB,                                    -- JSON text: digest of the write
    type TEXT NOT NULL,                             -- serializer's type of data
    data BLOB NOT NULL,
    path TEXT NOT NULL                              -- task path
);
-- An ordinary write is stored once. A special one (idx < 0) can be stored again; the newest is valid.
CREATE UNIQUE INDEX writes_id ON writes (seg, checkpoint_id, namespace, task_id, idx, (CASE WHEN idx < 0 THEN pos ELSE 0 END));
CREATE INDEX writes_pos ON writes (seg, pos);

CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    pos INTEGER NOT NULL,                           -- position of the checkpoint that stored and owns the blob
    type TEXT NOT NULL,                             -- serializer's type of the value
    base INTEGER,                                   -- the blob that data are instructions over; NULL: data is the whole value
    number INTEGER NOT NULL,                        -- number of this version in its chain of versions, from 1
    size INTEGER NOT NULL,                          -- bytes of the whole value
    data BLOB NOT NULL
);
CREATE INDEX blobs_pos ON blobs (pos);

CREATE TABLE run_spans (
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    first INTEGER NOT NULL,                         -- position of the first row that the run stored on the thread
    PRIMARY KEY (run_id, thread_id)
) WITHOUT ROWID;
CREATE INDEX run_spans_thread ON run_spans (thread_id, first);

-- Threads. The state of a thread at the end of its last run is one row of `states`, which copies share.

CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    "values" BLOB,                                  -- JSON
    interrupts BLOB                                 -- JSON
);

CREATE TABLE threads (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of creation
    thread_id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    state_updated_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,                         -- JSON
    status TEXT NOT NULL,
    config TEXT NOT NULL,                           -- JSON
    error TEXT,                                     -- JSON
    state_id INTEGER REFERENCES states,             -- NULL: no state yet
    ttl_minutes REAL,
    ttl_strategy TEXT,
    expires_at INTEGER,
    forked_from TEXT,                               -- JSON {thread_id, checkpoint_id, at, user_id}
    priority INTEGER                                -- of its runs, the smallest first; NULL: not set yet
);
-- For a page of threads in each order, without sorting all of them.
CREATE INDEX threads_created ON threads (created_at, seq);
CREATE INDEX threads_updated ON threads (updated_at, seq);
CREATE INDEX threads_state_updated ON threads (state_updated_at, seq);
CREATE INDEX threads_status_updated ON threads (status, updated_at, seq);
CREATE INDEX threads_state ON threads (state_id) WHERE state_id IS NOT NULL;
CREATE INDEX threads_expiry ON threads (expires_at) WHERE expires_at IS NOT NULL;

-- Copies and what they were copied from: a tree, which is kept when threads in it are deleted. A row is deleted when neither the
-- copy nor any thread that descends from it exists.

CREATE TABLE forks (
    child INTEGER PRIMARY KEY,                      -- `threads.seq` of a copy: never reused, unlike its id
    thread_id TEXT NOT NULL,                        -- the id of the copy
    parent INTEGER NOT NULL,                        -- `threads.seq` of the thread it is a copy of
    root INTEGER NOT NULL,                          -- `threads.seq` of the root of the tree,
    root_id TEXT NOT NULL,                          -- and its id
    checkpoint_id TEXT,                             -- the newest root checkpoint that was copied, NULL: none
    at INTEGER NOT NULL,
    user_id TEXT                                    -- who created it, NULL where users are not distinguished
);
CREATE INDEX forks_parent ON forks (parent);
-- For the copies of a deleted thread, which only its copies know.
CREATE INDEX forks_thread ON forks (thread_id, child);
CREATE INDEX forks_root ON forks (root_id, root);

-- Runs: a run's row is its queue entry.

CREATE TABLE fences (next INTEGER NOT NULL);        -- one row: the fence of the next claim
INSERT INTO fences VALUES (1);

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of creation
    run_id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL,
    assistant_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,                         -- JSON
    kwargs TEXT NOT NULL,                           -- JSON: the parameters of the run
    multitask_strategy TEXT NOT NULL,
    due INTEGER NOT NULL,                           -- moment before which it does not start
    attempt INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,               -- of the running attempt, 0 for none
    worker TEXT,                                    -- the holder of the lease
    lease INTEGER,                                  -- moment at which the lease ends
    cancel TEXT,                                    -- interrupt or rollback: requested while it runs
    started_at INTEGER,                             -- of the first attempt
    ended_at INTEGER,
    user_id TEXT,                                   -- who started it; NULL where users are not distinguished
    priority INTEGER NOT NULL DEFAULT 0,            -- the smallest first
    delayed_at INTEGER,                             -- for a run that is delayed until `due`: when the delay was computed
    ready INTEGER NOT NULL DEFAULT 0                -- 1: the next run of its thread, while no run of the thread is running
);
CREATE UNIQUE INDEX runs_one_running ON runs (thread_id) WHERE status = 'running';
CREATE UNIQUE INDEX runs_ready_of_thread ON runs (thread_id) WHERE ready = 1;
CREATE INDEX runs_ready ON runs (priority, seq) WHERE ready = 1;
CREATE INDEX runs_delayed ON runs (due, seq) WHERE delayed_at IS NOT NULL;
CREATE INDEX runs_waiting ON runs (thread_id, seq) WHERE status = 'pending' AND delayed_at IS NULL;
CREATE INDEX runs_pending_of_user ON runs (user_id, thread_id) WHERE status = 'pending';
CREATE INDEX runs_pending ON runs (thread_id, seq) WHERE status = 'pending';
CREATE INDEX runs_thread ON runs (thread_id, seq);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE outcomes (
    run_id TEXT PRIMARY KEY NOT NULL,
    thread_id TEXT NOT NULL,
    status TEXT NOT NULL,
    output BLOB NOT NULL,                           -- JSON: the response of join, or its parts other than the state's values
    checkpoint_id TEXT,                             -- the checkpoint whose state has these values; NULL: the output is whole
    error TEXT,                                     -- JSON
    metadata TEXT NOT NULL,                         -- JSON
    expires_at INTEGER                              -- set when the run's own row is deleted
);
CREATE INDEX outcomes_thread ON outcomes (thread_id);
CREATE INDEX outcomes_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;

-- Stored events of resumable runs.

CREATE TABLE events (
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,                           -- gapless number within the thread
    run_id TEXT NOT NULL,
    ms INTEGER NOT NULL,                            -- the event's id is ms-n
    n INTEGER NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,                             -- stream mode
    last INTEGER NOT NULL,                          -- 1: the last event of its run
    data BLOB,                                      -- JSON; NULL: it has a value
    value INTEGER,                                  -- row of event_values that restores the data
    size INTEGER NOT NULL,                          -- bytes of the whole data
    expires_at INTEGER,                             -- set when the run ends
    PRIMARY KEY (thread_id, seq)
) WITHOUT ROWID;
CREATE INDEX events_run ON events (run_id, ms, n);
CREATE INDEX events_value ON events (value) WHERE value IS NOT NULL;
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- Long data of events. A row is kept as long as its event is stored, or another row builds on it.
CREATE TABLE event_values (
    id INTEGER PRIMARY KEY,
    base INTEGER,                                   -- the row that data are instructions over; NULL: data are the whole JSON
    data BLOB NOT NULL
);
CREATE INDEX event_values_base ON event_values (base) WHERE base IS NOT NULL;

-- Numbers of removed events are never reused, and a reader that asks for events after an earlier number is informed of the gap.
CREATE TABLE event_floors (
    thread_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL                            -- up to this number stored v2 events of the thread may have been removed
) WITHOUT ROWID;

-- Deliveries of webhooks, and their tries.

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of creation
    delivery_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    url TEXT NOT NULL,
    body BLOB NOT NULL,                             -- JSON
    status TEXT NOT NULL,
    due INTEGER NOT NULL,                           -- for a claimed one: when the claim ends
    worker TEXT,                                    -- the holder of the claim
    claims INTEGER NOT NULL,                        -- how often it was claimed
    tries_left INTEGER NOT NULL,
    tries TEXT NOT NULL,                            -- JSON: a record of each try
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,                             -- when it may be deleted, once it is not pending
    host TEXT NOT NULL DEFAULT ''                   -- host of the URL: deliveries to a host that does not respond are skipped
);
CREATE INDEX deliveries_due ON deliveries (due) WHERE status = 'pending';
CREATE INDEX deliveries_host ON deliveries (host, due, seq) WHERE status = 'pending';
CREATE INDEX deliveries_run ON deliveries (run_id);
CREATE INDEX deliveries_thread ON deliveries (thread_id);
CREATE INDEX deliveries_expires ON deliveries (expires_at) WHERE expires_at IS NOT NULL;

-- Assistants and their versions.

CREATE TABLE assistants (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of creation
    assistant_id TEXT NOT NULL UNIQUE,
    graph_id TEXT NOT NULL,
    version INTEGER NOT NULL,                       -- the current version; the columns below repeat it
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    config TEXT NOT NULL,                           -- JSON
    context TEXT NOT NULL,                          -- JSON
    metadata TEXT NOT NULL                          -- JSON
);

CREATE TABLE assistant_versions (
    assistant_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    graph_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    config TEXT NOT NULL,                           -- JSON
    context TEXT NOT NULL,                          -- JSON
    metadata TEXT NOT NULL,                         -- JSON
    PRIMARY KEY (assistant_id, version)
) WITHOUT ROWID;

-- Crons: schedules that start runs.

CREATE TABLE crons (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of creation
    cron_id TEXT NOT NULL UNIQUE,
    assistant_id TEXT NOT NULL,
    thread_id TEXT,                                 -- NULL: each run gets a thread of its own
    user_id TEXT,
    schedule TEXT NOT NULL,                         -- cron expression
    timezone TEXT,
    end_time TEXT,                                  -- as the caller wrote it
    ends_at INTEGER,                                -- end_time as a moment
    payload TEXT NOT NULL,                          -- JSON: the request for each run
    next_run_date INTEGER,                          -- NULL: never again
    metadata TEXT NOT NULL,                         -- JSON
    on_run_completed TEXT,
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_fired_at INTEGER,
    last_run_id TEXT,
    last_error TEXT,
    user TEXT                                       -- JSON {identity, name, permissions} of its creator; NULL: no user
);
CREATE INDEX crons_due ON crons (next_run_date) WHERE enabled AND next_run_date IS NOT NULL;
CREATE INDEX crons_thread ON crons (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX crons_assistant ON crons (assistant_id);

-- Items of the long-term store and their vectors.

CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never reused: vectors are cached with the item they belong to
    namespace BLOB NOT NULL,                               -- namespace as UTF-8, a NUL after each label: prefixes are ranges
    key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ttl_minutes REAL,
    expires_at INTEGER,
    value BLOB NOT NULL                             -- JSON as in the response; last, so that the others are read without it
);
CREATE UNIQUE INDEX items_place ON items (namespace, key);
CREATE INDEX items_below ON items (namespace, updated_at, key, expires_at);
CREATE INDEX items_updated ON items (updated_at DESC, namespace, key, expires_at);
CREATE INDEX items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE item_vectors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never reused, and a vector never changes: cached by id
    item INTEGER NOT NULL REFERENCES items ON DELETE CASCADE,
    namespace BLOB NOT NULL,                               -- namespace and expires_at repeat the item's, for one scan without a join
    dims INTEGER NOT NULL,
    expires_at INTEGER,
    vector BLOB NOT NULL                            -- float32, little-endian, of unit length (or all zero)
);
CREATE INDEX item_vectors_item ON item_vectors (item, dims);
CREATE INDEX item_vectors_below ON item_vectors (dims, namespace, expires_at);

-- Check values of encryption keys (docs/encryption.md). Keys are never stored.

CREATE TABLE seals (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
