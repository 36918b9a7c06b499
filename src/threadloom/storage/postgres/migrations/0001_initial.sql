-- The tables of release 0.1. The functions that use them are in functions.sql; no migration calls one.
--
-- Moments are microseconds since 1970 (UTC). Texts compare by their bytes (COLLATE "C"), as everywhere in the server. JSON
-- documents are stored as the text that was received, in `text` or, where responses contain them unchanged, in `bytea`: `jsonb`
-- cannot store U+0000 and does not keep the order of keys. Documents that are searched are stored a second time as `jsonb`, in
-- the form of `storage/postgres/documents.py`, so that the database's equality is the same as the server's.

-- The lineage: segments, heads, checkpoints, pending writes, blobs (docs/architecture.md, "How a copy works"). Positions, segment
-- ids and eras come from one sequence.
--
-- A sequence assigns numbers before the commit. So "all rows up to this position" is a fixed set only for a transaction that has
-- excluded all writers. A transaction that adds rows takes the thread's lineage lock shared before it draws a position; a
-- transaction that copies or removes rows takes it exclusively.

CREATE SEQUENCE positions;

CREATE SEQUENCE blob_ranges;                            -- each process draws one, and assigns the ids of that range itself

CREATE SEQUENCE blob_copies INCREMENT -1;               -- ids of values that the database copies

CREATE TABLE segments (
    id bigint PRIMARY KEY,                              -- never reused: edges are cached by id
    parent bigint REFERENCES segments,
    upto bigint,                                        -- only positions <= upto of the parent are visible
    branch_at bigint                                    -- a fork in place: of what is inherited, later positions are not in the current state
);
CREATE INDEX segments_parent ON segments (parent, upto) WHERE parent IS NOT NULL;

CREATE TABLE heads (
    thread_id text COLLATE "C" PRIMARY KEY,
    seg bigint NOT NULL REFERENCES segments,                -- the segment that the thread writes to
    era bigint NOT NULL                                 -- changes whenever a row is removed from the thread's view
);
CREATE INDEX heads_seg ON heads (seg);

-- What a thread saw before its head was moved: a former head is a row of `heads` too, under a name of its own.

CREATE TABLE former_heads (
    number bigint PRIMARY KEY,                          -- in the order in which the thread was moved away from them
    head text COLLATE "C" NOT NULL UNIQUE,                       -- its `heads.thread_id`
    thread_id text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C",                              -- the newest root checkpoint that it sees, NULL: none
    moved_at bigint NOT NULL,
    reason text NOT NULL,                            -- what moved the thread away: reset, promote, undo
    record text NOT NULL                             -- JSON: what the record of the thread showed: its error, and the graph of the state
);
CREATE INDEX former_heads_thread ON former_heads (thread_id, number);

CREATE TABLE tags (
    thread_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,                     -- a root checkpoint
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,                         -- when it was last set
    PRIMARY KEY (thread_id, name)
);

CREATE TABLE dead_segments (id bigint PRIMARY KEY);         -- former heads with too many rows to be freed at once

CREATE TABLE checkpoints (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,                       -- checkpoint namespace, '' for the root graph
    checkpoint_id text COLLATE "C" NOT NULL,                      -- checkpoint id
    parent text COLLATE "C",                            -- checkpoint id
    digests bytea,                                      -- JSON text: digests of the checkpoint and of its large values
    body_type text NOT NULL,                                -- serializer's type of body
    body bytea NOT NULL,                                -- the checkpoint without its large channel values
    channels text[] NOT NULL,                           -- channels that have a blob,
    blobs bigint[] NOT NULL,                            -- and the ids of the blobs
    small_channels text[] NOT NULL,                     -- channels whose value is in body,
    small_bytes bigint[] NOT NULL,                      -- and its size in bytes, 0 where the parent had it
    meta bytea NOT NULL,                                -- checkpoint metadata as JSON
    messages bytea                                      -- JSON: its messages (lineage/messages.py), NULL: those of its parent
);
CREATE INDEX checkpoints_id ON checkpoints (checkpoint_id, namespace, seg, pos);         -- not unique: a checkpoint put again is a new row, the newest is valid
-- A query must contain the `+ 0` to use one of these indexes. No other index matches such a query, and no other query matches
-- these indexes. Plans are made once for all threads, and a plan that looks best for most threads would scan all rows of the
-- table, or of a thread, for some.
CREATE INDEX checkpoints_seg ON checkpoints (seg, namespace, (pos + 0));       -- for the newest checkpoint and the history
CREATE INDEX cks_pos ON checkpoints ((seg + 0), (pos + 0));     -- for rows stored after a position, in any namespace

CREATE TABLE writes (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,                      -- id of the checkpoint that the write is pending on
    task_id text COLLATE "C" NOT NULL,
    idx integer NOT NULL,                               -- index within the task's writes, negative for special channels
    channel text COLLATE "C" NOT NULL,
    digest bytea,                                       -- JSON text: digest of the write
    type text NOT NULL,                                 -- serializer's type of data
    data bytea NOT NULL,
    path text COLLATE "C" NOT NULL                      -- task path
);
ALTER TABLE writes ALTER data SET STORAGE EXTERNAL;     -- the data are dense already, or compression costs more than it saves
-- An ordinary write is stored once. A special one (idx < 0) can be stored again; the newest is valid.
CREATE UNIQUE INDEX writes_id ON writes (seg, checkpoint_id, namespace, task_id, idx, (CASE WHEN idx < 0 THEN pos ELSE 0 END));
CREATE INDEX writes_pos ON writes ((seg + 0), (pos + 0));

CREATE TABLE blobs (
    id bigint PRIMARY KEY,
    pos bigint NOT NULL,                                -- position of the checkpoint that stored and owns the blob
    type text NOT NULL,                                 -- serializer's type of the value
    base bigint,                                        -- the blob that data are instructions over; NULL: data is the whole value
    number integer NOT NULL,                            -- number of this version in its chain of versions, from 1
    size bigint NOT NULL,                               -- bytes of the whole value
    data bytea NOT NULL
);
ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;
CREATE INDEX blobs_pos ON blobs (pos);

CREATE TABLE run_spans (
    run_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    first bigint NOT NULL,                              -- position of the first row that the run stored on the thread
    PRIMARY KEY (run_id, thread_id)
);
CREATE INDEX run_spans_thread ON run_spans (thread_id, first);

-- A put: a checkpoint with its new blobs, or pending writes (functions.sql: tl_put). The fields are those of the tables.

CREATE TYPE lineage_blob AS (id bigint, type text, data bytea, base bigint, number integer, size bigint);

CREATE TYPE lineage_write AS (task_id text, idx integer, channel text, type text, data bytea, path text, digest bytea);

CREATE TYPE lineage_put AS (
    thread_id text,
    run_id text,
    fence bigint,                                       -- the fence that the run must hold; NULL: no check
    era bigint,                                         -- the era that the thread must be in; NULL: any
    namespace text,
    checkpoint_id text,
    parent text,
    body_type text,
    body bytea,
    channels text[],
    blobs bigint[],
    small_channels text[],
    small_bytes bigint[],
    meta bytea,
    messages bytea,
    new_blobs lineage_blob[],
    early_namespaces text[],                            -- checkpoints stored before this one, to be moved after it:
    early_ids text[],                                   -- their namespaces and ids
    digests bytea,
    writes lineage_write[]                              -- NULL: this is a checkpoint
);

-- Threads. The state of a thread at the end of its last run is one row of `states`, which copies share.

CREATE TABLE states (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    "values" bytea,                                     -- JSON
    interrupts bytea                                    -- JSON
);

CREATE TABLE threads (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    thread_id text COLLATE "C" NOT NULL UNIQUE,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    state_updated_at bigint NOT NULL,
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL,                              -- metadata in searchable form
    status text COLLATE "C" NOT NULL,
    config text NOT NULL,                               -- JSON
    error text,                                         -- JSON
    state_id bigint REFERENCES states,                  -- NULL: no state yet
    ttl_minutes double precision,
    ttl_strategy text,
    expires_at bigint,
    forked_from text,                                   -- JSON {thread_id, checkpoint_id, at, user_id}
    priority smallint                                   -- of its runs, the smallest first; NULL: not set yet
) WITH (fillfactor = 85);
-- For a page of threads in each order, without sorting all of them.
CREATE INDEX threads_created ON threads (created_at);
CREATE INDEX threads_updated ON threads (updated_at);
CREATE INDEX threads_state_updated ON threads (state_updated_at);
CREATE INDEX threads_status ON threads (status, updated_at);
CREATE INDEX threads_search ON threads USING gin (search jsonb_path_ops);
CREATE INDEX threads_state ON threads (state_id) WHERE state_id IS NOT NULL;
CREATE INDEX threads_expiry ON threads (expires_at) WHERE expires_at IS NOT NULL;

-- Copies and what they were copied from: a tree, which is kept when threads in it are deleted. A row is deleted when neither the
-- copy nor any thread that descends from it exists.

CREATE TABLE forks (
    child bigint PRIMARY KEY,                           -- `threads.seq` of a copy: never reused, unlike its id
    thread_id text COLLATE "C" NOT NULL,                -- the id of the copy
    parent bigint NOT NULL,                             -- `threads.seq` of the thread it is a copy of
    root bigint NOT NULL,                               -- `threads.seq` of the root of the tree,
    root_id text COLLATE "C" NOT NULL,                  -- and its id
    checkpoint_id text COLLATE "C",                     -- the newest root checkpoint that was copied, NULL: none
    at bigint NOT NULL,
    user_id text COLLATE "C"                            -- who created it, NULL where users are not distinguished
);
CREATE INDEX forks_parent ON forks (parent);
-- For the copies of a deleted thread, which only its copies know.
CREATE INDEX forks_thread ON forks (thread_id, child);
CREATE INDEX forks_root ON forks (root_id, root);

-- Runs: a run's row is its queue entry. A transaction that changes a pending or running run holds its thread's lock.

CREATE SEQUENCE fences;

CREATE TABLE runs (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    run_id text COLLATE "C" NOT NULL UNIQUE,
    thread_id text COLLATE "C" NOT NULL,
    assistant_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    metadata text NOT NULL,                             -- JSON
    kwargs text NOT NULL,                               -- JSON: the parameters of the run
    multitask_strategy text NOT NULL,
    due bigint NOT NULL,                                -- moment before which it does not start
    attempt integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,                    -- of the running attempt, 0 for none
    worker text,                                        -- the holder of the lease
    lease bigint,                                       -- moment at which the lease ends
    cancel text,                                        -- interrupt or rollback: requested while it runs
    started_at bigint,                                  -- of the first attempt
    ended_at bigint,
    user_id text COLLATE "C" NOT NULL,                  -- who started it; empty where users are not distinguished
    -- 0: the next run of its thread, while no run of the thread is running. A search for the next run must not scan thousands
    -- that wait behind it.
    ready bigint,
    task_id text COLLATE "C",                           -- the task that the run continues, from its metadata
    temporary boolean NOT NULL,                         -- from kwargs
    priority smallint NOT NULL DEFAULT 0,               -- the smallest first
    delayed_at bigint                                   -- for a run that is delayed until `due`: when the delay was computed
) WITH (fillfactor = 85);
-- As with `pos + 0`: only these indexes match the queries for the running run of a thread and for its first waiting one. Plans
-- are made once, when the table may be nearly empty and all indexes look alike.
CREATE UNIQUE INDEX runs_one_running ON runs ((thread_id || '')) WHERE status = 'running';
CREATE INDEX runs_waiting ON runs (thread_id, (seq + 0)) WHERE status = 'pending' AND delayed_at IS NULL;
CREATE INDEX runs_ready ON runs (priority, seq) WHERE ready IS NOT NULL;
CREATE INDEX runs_ready_of_thread ON runs (thread_id) WHERE ready IS NOT NULL;
CREATE INDEX runs_delayed ON runs (due, seq) WHERE delayed_at IS NOT NULL;
CREATE INDEX runs_active ON runs (thread_id, seq) WHERE status IN ('pending', 'running');
CREATE INDEX runs_active_of_user ON runs (user_id) WHERE status IN ('pending', 'running');
CREATE INDEX runs_thread ON runs (thread_id, seq);
CREATE INDEX runs_task ON runs (thread_id, task_id, seq) WHERE task_id IS NOT NULL;
CREATE INDEX runs_assistant ON runs (assistant_id, seq);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE outcomes (
    run_id text COLLATE "C" PRIMARY KEY,
    thread_id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    output bytea NOT NULL,                              -- JSON: the response of join, or its parts other than the state's values
    checkpoint_id text,                                 -- the checkpoint whose state has these values; NULL: the output is whole
    error text,                                         -- JSON
    metadata text NOT NULL,                             -- JSON
    expires_at bigint                                   -- set when the run's own row is deleted
);
CREATE INDEX outcomes_thread ON outcomes (thread_id);
CREATE INDEX outcomes_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;

-- Stored events of resumable runs. A writer of a thread's log first locks its row of `event_logs`.

CREATE TABLE event_logs (
    thread_id text COLLATE "C" PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,                      -- number of the newest event, even if it was removed
    ms bigint NOT NULL DEFAULT 0,                       -- the id of that event is ms-n
    n bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0                     -- up to this number stored v2 events of the thread may have been removed
) WITH (fillfactor = 50);

CREATE TABLE events (
    thread_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,                                -- gapless number within the thread
    run_id text COLLATE "C" NOT NULL,
    ms bigint NOT NULL,                                 -- the event's id is ms-n
    n bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    mode text COLLATE "C" NOT NULL,                     -- stream mode
    last boolean NOT NULL,                              -- whether it is the last event of its run
    data bytea,                                         -- JSON; NULL: it has a value
    value bigint,                                       -- row of event_values that restores the data
    size bigint NOT NULL,                               -- bytes of the whole data
    expires_at bigint,                                  -- set when the run ends
    PRIMARY KEY (thread_id, seq)
);
CREATE INDEX events_run ON events (run_id, ms, n);
CREATE INDEX events_value ON events (value) WHERE value IS NOT NULL;
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- Long data of events. A row is kept as long as its event is stored, or another row builds on it.

CREATE TABLE event_values (
    id bigint PRIMARY KEY,
    base bigint,                                        -- the row that data are instructions over; NULL: data are the whole JSON
    data bytea NOT NULL
);
CREATE INDEX event_values_base ON event_values (base) WHERE base IS NOT NULL;

-- Deliveries of webhooks, and their tries.

CREATE TABLE deliveries (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    delivery_id text COLLATE "C" NOT NULL UNIQUE,
    run_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    url text NOT NULL,
    body bytea NOT NULL,                                -- JSON
    status text COLLATE "C" NOT NULL,
    due bigint NOT NULL,                                -- for a claimed one: when the claim ends
    worker text,                                        -- the holder of the claim
    claims bigint NOT NULL,                             -- how often it was claimed
    tries_left bigint NOT NULL,
    tries text NOT NULL,                                -- JSON: a record of each try
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint,                                  -- when it may be deleted, once it is not pending
    host text COLLATE "C" NOT NULL DEFAULT ''           -- host of the URL: deliveries to a host that does not respond are skipped
);
CREATE INDEX deliveries_due ON deliveries (due, seq) WHERE status = 'pending';
CREATE INDEX deliveries_host ON deliveries (host, due, seq) WHERE status = 'pending';
CREATE INDEX deliveries_run ON deliveries (run_id);
CREATE INDEX deliveries_thread ON deliveries (thread_id);
CREATE INDEX deliveries_expires ON deliveries (expires_at) WHERE expires_at IS NOT NULL;

-- Assistants and their versions.

CREATE TABLE assistants (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    assistant_id text COLLATE "C" NOT NULL UNIQUE,
    graph_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,                            -- the current version; the columns below repeat it
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    name text NOT NULL,
    folded text COLLATE "C" NOT NULL,                   -- name, for comparison without regard to case
    description text,
    config text NOT NULL,                               -- JSON
    context text NOT NULL,                              -- JSON
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL                               -- metadata in searchable form
);
CREATE INDEX assistants_search ON assistants USING gin (search jsonb_path_ops);

CREATE TABLE assistant_versions (
    assistant_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    graph_id text NOT NULL,
    created_at bigint NOT NULL,
    name text NOT NULL,
    description text,
    config text NOT NULL,                               -- JSON
    context text NOT NULL,                              -- JSON
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL,                              -- metadata in searchable form
    PRIMARY KEY (assistant_id, version)
);

-- Crons: schedules that start runs.

CREATE TABLE crons (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    cron_id text COLLATE "C" NOT NULL UNIQUE,
    assistant_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C",                         -- NULL: each run gets a thread of its own
    user_id text,
    "user" text,                                        -- JSON {identity, name, permissions} of its creator; NULL: no user
    schedule text NOT NULL,                             -- cron expression
    timezone text,
    end_time text,                                      -- as the caller wrote it
    ends_at bigint,                                     -- end_time as a moment
    payload text NOT NULL,                              -- JSON: the request for each run
    next_run_date bigint,                               -- NULL: never again
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL,                              -- metadata in searchable form
    on_run_completed text,
    enabled boolean NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    last_fired_at bigint,
    last_run_id text,
    last_error text
);
CREATE INDEX crons_due ON crons (next_run_date, seq) WHERE enabled AND next_run_date IS NOT NULL;
CREATE INDEX crons_thread ON crons (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX crons_assistant ON crons (assistant_id);
CREATE INDEX crons_search ON crons USING gin (search jsonb_path_ops);

-- Items of the long-term store and their vectors. Namespaces and keys may be longer than an index permits, so it contains their
-- beginnings.

CREATE TABLE items (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,     -- never reused: vectors are cached with their item
    place bytea NOT NULL UNIQUE,                        -- digest of namespace and key
    namespace bytea NOT NULL,                                  -- namespace as UTF-8, a NUL after each label: prefixes are ranges
    key bytea NOT NULL,                                 -- UTF-8
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    ttl_minutes double precision,
    expires_at bigint,
    value bytea NOT NULL                                -- JSON as in the response
);
CREATE INDEX items_below ON items (substring(namespace FROM 1 FOR 1000), substring(key FROM 1 FOR 1000));
CREATE INDEX items_updated ON items (updated_at);
CREATE INDEX items_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE item_vectors (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,     -- never reused, and a vector never changes: cached by id
    item bigint NOT NULL REFERENCES items ON DELETE CASCADE,
    dims integer NOT NULL,
    namespace bytea NOT NULL,                                  -- namespace and expires_at repeat the item's, for one scan without a join
    expires_at bigint,
    vector bytea NOT NULL                               -- float32, little-endian, of unit length (or all zero)
);
ALTER TABLE item_vectors ALTER vector SET STORAGE EXTERNAL;     -- numbers do not compress
CREATE INDEX item_vectors_item ON item_vectors (item, dims);
CREATE INDEX item_vectors_below ON item_vectors (dims, substring(namespace FROM 1 FOR 1000));

-- Check values of encryption keys (docs/encryption.md). Keys are never stored.

CREATE TABLE seals (
    name text PRIMARY KEY,
    value text NOT NULL
);
