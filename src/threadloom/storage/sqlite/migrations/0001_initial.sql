-- The lineage: segments, heads, checkpoints, pending writes, blobs (docs/architecture.md, "How a copy works").
-- Positions, segment ids and eras come from one sequence, which the writer keeps: one above the largest ever stored.

CREATE TABLE segs (
    id INTEGER PRIMARY KEY,                         -- never reused: edges are cached by id
    parent INTEGER REFERENCES segs,
    upto INTEGER                                    -- of the parent, only positions <= upto are seen
);
CREATE INDEX segs_parent ON segs (parent, upto);

CREATE TABLE heads (
    thread_id TEXT PRIMARY KEY,
    seg INTEGER NOT NULL REFERENCES segs,
    era INTEGER NOT NULL                            -- new whenever something is taken out of the thread's view
) WITHOUT ROWID;
CREATE INDEX heads_seg ON heads (seg);

CREATE TABLE positions (next INTEGER NOT NULL);     -- one row: no position below was free when something was last deleted
INSERT INTO positions VALUES (1);

CREATE TABLE cks (
    pos INTEGER PRIMARY KEY,
    seg INTEGER NOT NULL,
    ns TEXT NOT NULL,
    cid TEXT NOT NULL,
    parent TEXT,
    btype TEXT NOT NULL,
    body BLOB NOT NULL,                             -- the checkpoint without its big channel values
    refs TEXT NOT NULL,                             -- {channel: blob id}
    small TEXT NOT NULL,                            -- {channel: bytes} of the values in body, 0 where the parent had it
    meta TEXT NOT NULL                              -- JSON, for filters
);
CREATE INDEX cks_id ON cks (cid, ns, seg, pos);     -- not unique: a checkpoint put again is one row more, the newest counts
CREATE INDEX cks_seg ON cks (seg, ns, pos);

CREATE TABLE writes (
    pos INTEGER PRIMARY KEY,
    seg INTEGER NOT NULL,
    ns TEXT NOT NULL,
    cid TEXT NOT NULL,
    task_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    channel TEXT NOT NULL,
    type TEXT NOT NULL,
    data BLOB NOT NULL,
    path TEXT NOT NULL
);
-- An ordinary write is stored once; a special one (idx < 0) again and again, the newest counts.
CREATE UNIQUE INDEX writes_id ON writes (seg, cid, ns, task_id, idx, (CASE WHEN idx < 0 THEN pos ELSE 0 END));

CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    pos INTEGER NOT NULL,                           -- of the checkpoint that stored it = whose it is
    type TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX blobs_pos ON blobs (pos);

CREATE TABLE run_spans (
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    first INTEGER NOT NULL,                         -- position of the first row that the run stored on the thread
    PRIMARY KEY (run_id, thread_id)
) WITHOUT ROWID;
CREATE INDEX run_spans_thread ON run_spans (thread_id);

-- Threads. What a thread's state looked like at its last end is one row of `states`, which copies share.

CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    "values" BLOB,                                  -- JSON
    interrupts BLOB                                 -- JSON
);

CREATE TABLE threads (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of making
    thread_id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    state_updated_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    status TEXT NOT NULL,
    config TEXT NOT NULL,
    error TEXT,
    state_id INTEGER REFERENCES states,
    ttl_minutes REAL,
    ttl_strategy TEXT,
    expires_at INTEGER,
    forked_from TEXT                                -- JSON {thread_id, checkpoint_id, at}
);
CREATE INDEX threads_updated ON threads (updated_at, seq);
CREATE INDEX threads_status ON threads (status);
CREATE INDEX threads_state ON threads (state_id);
CREATE INDEX threads_expiry ON threads (expires_at) WHERE expires_at IS NOT NULL;

-- Runs: a run's row is its queue entry.

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of making
    run_id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL,
    assistant_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    kwargs TEXT NOT NULL,
    multitask_strategy TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease INTEGER,
    cancel TEXT,
    started_at INTEGER,
    ended_at INTEGER
);
CREATE UNIQUE INDEX runs_one_running ON runs (thread_id) WHERE status = 'running';
CREATE INDEX runs_thread ON runs (thread_id, seq);
CREATE INDEX runs_pending ON runs (due, seq) WHERE status = 'pending';
CREATE INDEX runs_leases ON runs (lease) WHERE status = 'running';

CREATE TABLE fences (next INTEGER NOT NULL);        -- one row: the fence that the next claim gets
INSERT INTO fences VALUES (1);

CREATE TABLE outcomes (
    run_id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL,
    status TEXT NOT NULL,
    output BLOB NOT NULL,                           -- JSON, what join answers
    error TEXT,
    metadata TEXT NOT NULL,
    expires_at INTEGER                              -- set when the run's own row is gone
) WITHOUT ROWID;
CREATE INDEX outcomes_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE events (
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    ms INTEGER NOT NULL,
    n INTEGER NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    last INTEGER NOT NULL,
    data BLOB NOT NULL,
    expires_at INTEGER,                             -- set when the run ends
    PRIMARY KEY (thread_id, seq)
) WITHOUT ROWID;
CREATE INDEX events_run ON events (run_id, ms, n);
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- Assistants and their versions.

CREATE TABLE assistants (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    assistant_id TEXT NOT NULL UNIQUE,
    graph_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    config TEXT NOT NULL,
    context TEXT NOT NULL,
    metadata TEXT NOT NULL
);

CREATE TABLE assistant_versions (
    assistant_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    graph_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    config TEXT NOT NULL,
    context TEXT NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (assistant_id, version)
) WITHOUT ROWID;
