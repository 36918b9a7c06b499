-- The tables of release 0.1. The functions over them are in functions.sql, and no migration calls one.
--
-- Moments are microseconds since 1970 (UTC). Texts compare by their bytes (COLLATE "C"), as everywhere in the server.
-- JSON documents are kept as the text they came as, in `text` or, where they are in responses as they are, in `bytea`: `jsonb` knows no
-- U+0000 and forgets the order of keys. What is searched is there a second time as `jsonb`, in the form that
-- `storage/postgres/documents.py` gives it, so that the database's equality is ours.

-- The lineage: segments, heads, checkpoints, pending writes, blobs (docs/architecture.md, "How a copy works"). Positions, segment ids
-- and eras come from one sequence.
--
-- A sequence gives its numbers before the commit. So "all up to this position" is a fixed set only for who has made all others
-- wait: whoever stores something takes the thread's lineage lock with others (shared) before it draws a position, and whoever
-- copies or takes something away takes it alone.

CREATE SEQUENCE positions;

CREATE SEQUENCE blob_ranges;                            -- each process draws one, and gives the ids in it by itself

CREATE SEQUENCE blob_copies INCREMENT -1;               -- ids of values stored anew by the database

CREATE TABLE segments (
    id bigint PRIMARY KEY,                              -- never reused: edges are cached by id
    parent bigint REFERENCES segments,
    upto bigint                                         -- of the parent, only positions <= upto are visible
);
CREATE INDEX segments_parent ON segments (parent, upto) WHERE parent IS NOT NULL;

CREATE TABLE heads (
    thread_id text COLLATE "C" PRIMARY KEY,
    seg bigint NOT NULL REFERENCES segments,                -- what the thread writes to
    era bigint NOT NULL                                 -- new whenever something is taken out of the thread's view
);
CREATE INDEX heads_seg ON heads (seg);

CREATE TABLE dead_segments (id bigint PRIMARY KEY);         -- lost their head, and were too long to be freed at once

CREATE TABLE checkpoints (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,                       -- checkpoint namespace, '' of the root graph
    checkpoint_id text COLLATE "C" NOT NULL,                      -- checkpoint id
    parent text COLLATE "C",                            -- checkpoint id
    body_type text NOT NULL,                                -- serializer's type of body
    body bytea NOT NULL,                                -- the checkpoint without its big channel values
    channels text[] NOT NULL,                           -- that have a blob,
    blobs bigint[] NOT NULL,                            -- and which
    small_channels text[] NOT NULL,                     -- whose value is in body,
    small_bytes bigint[] NOT NULL,                      -- and how long it is, 0 where the parent had it
    meta bytea NOT NULL                                 -- checkpoint metadata as JSON
);
CREATE INDEX checkpoints_id ON checkpoints (checkpoint_id, namespace, seg, pos);         -- not unique: a checkpoint put again is one row more, the newest counts
-- The `+ 0` is what a query writes that is to use one of these. No other index fits it, and no other query fits these: plans are made
-- once for all threads, and what looks best for most would walk through all rows of the table, or of a thread, for some.
CREATE INDEX checkpoints_seg ON checkpoints (seg, namespace, (pos + 0));       -- the latest, the history
CREATE INDEX cks_pos ON checkpoints ((seg + 0), (pos + 0));     -- what was stored after a position, in any namespace

CREATE TABLE writes (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,                      -- id of the checkpoint that the write is pending on
    task_id text COLLATE "C" NOT NULL,
    idx integer NOT NULL,                               -- place within the task's writes, negative of special channels
    channel text COLLATE "C" NOT NULL,
    type text NOT NULL,                                 -- serializer's type of data
    data bytea NOT NULL,
    path text COLLATE "C" NOT NULL                      -- task path
);
ALTER TABLE writes ALTER data SET STORAGE EXTERNAL;     -- what is stored is dense already, or not worth the time
-- An ordinary write is stored once; a special one (idx < 0) again and again, the newest counts.
CREATE UNIQUE INDEX writes_id ON writes (seg, checkpoint_id, namespace, task_id, idx, (CASE WHEN idx < 0 THEN pos ELSE 0 END));
CREATE INDEX writes_pos ON writes ((seg + 0), (pos + 0));

CREATE TABLE blobs (
    id bigint PRIMARY KEY,
    pos bigint NOT NULL,                                -- of the checkpoint that stored it and owns it
    type text NOT NULL,                                 -- serializer's type of the value
    base bigint,                                        -- blob that data are instructions over; NULL: data is the whole value
    number integer NOT NULL,                            -- of this version in its chain of versions, from 1
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

-- What is put: a checkpoint with its new blobs, or pending writes (functions.sql: tl_put). Field by field as in the tables.

CREATE TYPE lineage_blob AS (id bigint, type text, data bytea, base bigint, number integer, size bigint);

CREATE TYPE lineage_write AS (task_id text, idx integer, channel text, type text, data bytea, path text);

CREATE TYPE lineage_put AS (
    thread_id text,
    run_id text,
    fence bigint,                                       -- that the run has to hold; NULL: whoever may write
    era bigint,                                         -- that the thread has to be in; NULL: any
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
    new_blobs lineage_blob[],
    early_namespaces text[],                            -- of checkpoints stored before this one that are to stand after it,
    early_ids text[],                                   -- and their ids
    writes lineage_write[]                              -- NULL: this is a checkpoint
);

-- Threads. What a thread's state looked like at the end of its last run is one row of `states`, which copies share.

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
    search jsonb NOT NULL,                              -- metadata, to be searched
    status text COLLATE "C" NOT NULL,
    config text NOT NULL,                               -- JSON
    error text,                                         -- JSON
    state_id bigint REFERENCES states,                  -- NULL: no state yet
    ttl_minutes double precision,
    ttl_strategy text,
    expires_at bigint,
    forked_from text,                                   -- JSON {thread_id, checkpoint_id, at, user_id}
    priority smallint                                   -- of its runs, the smallest first; NULL: not decided yet
) WITH (fillfactor = 85);
-- A page of threads in each order that can be asked for, without sorting all of them.
CREATE INDEX threads_created ON threads (created_at);
CREATE INDEX threads_updated ON threads (updated_at);
CREATE INDEX threads_state_updated ON threads (state_updated_at);
CREATE INDEX threads_status ON threads (status, updated_at);
CREATE INDEX threads_search ON threads USING gin (search jsonb_path_ops);
CREATE INDEX threads_state ON threads (state_id) WHERE state_id IS NOT NULL;
CREATE INDEX threads_expiry ON threads (expires_at) WHERE expires_at IS NOT NULL;

-- Copies, and what they were made of: a tree, which outlives the threads in it. A row goes when neither the copy nor any thread
-- that descends from it is there.

CREATE TABLE forks (
    child bigint PRIMARY KEY,                           -- `threads.seq` of a copy: never given again, as its id may be
    thread_id text COLLATE "C" NOT NULL,                -- the id of the copy
    parent bigint NOT NULL,                             -- `threads.seq` of what it is a copy of
    root bigint NOT NULL,                               -- and of what all above it descend from,
    root_id text COLLATE "C" NOT NULL,                  -- with its id
    checkpoint_id text COLLATE "C",                     -- the newest root checkpoint it took along, NULL: there was none
    at bigint NOT NULL,
    user_id text COLLATE "C"                            -- who made it, NULL where users are not told apart
);
CREATE INDEX forks_parent ON forks (parent);

-- Runs: a run's row is its queue entry. What changes a run that is still to end holds its thread's lock.

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
    kwargs text NOT NULL,                               -- JSON: what the run was asked to do
    multitask_strategy text NOT NULL,
    due bigint NOT NULL,                                -- moment before which it does not start
    attempt integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,                    -- of the attempt that is running, 0 of none
    worker text,                                        -- who holds the lease
    lease bigint,                                       -- moment until which it was renewed
    cancel text,                                        -- interrupt or rollback: asked for while it runs
    started_at bigint,                                  -- of the first attempt
    ended_at bigint,
    user_id text COLLATE "C" NOT NULL,                  -- who started it; empty where users are not told apart
    -- 0: the next run of its thread, while nothing of the thread runs. Looking for the next must not walk past thousands that wait
    -- behind it.
    ready bigint,
    task_id text COLLATE "C",                           -- the task that metadata says it goes on with
    temporary boolean NOT NULL,                         -- as kwargs say
    priority smallint NOT NULL DEFAULT 0,               -- the smallest first
    delayed_at bigint                                   -- of a pending run that waits until `due`: when that was computed
) WITH (fillfactor = 85);
-- As with `pos + 0`: only these indexes fit the queries that ask for the running run of a thread and for its first waiting one. Plans
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
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE outcomes (
    run_id text COLLATE "C" PRIMARY KEY,
    thread_id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    output bytea NOT NULL,                              -- JSON: the response of join, or what it has beside values
    checkpoint_id text,                                 -- whose state has the values; NULL: the output is whole
    error text,                                         -- JSON
    metadata text NOT NULL,                             -- JSON
    expires_at bigint                                   -- set when the run's own row is gone
);
CREATE INDEX outcomes_thread ON outcomes (thread_id);
CREATE INDEX outcomes_expiry ON outcomes (expires_at) WHERE expires_at IS NOT NULL;

-- Stored events of resumable runs. Who writes to a thread's log first locks its row of `event_logs`.

CREATE TABLE event_logs (
    thread_id text COLLATE "C" PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,                      -- number of the newest event, also if it is gone
    ms bigint NOT NULL DEFAULT 0,                       -- its id is ms-n
    n bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0                     -- up to which stored v2 events of the thread may be gone
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
    data bytea NOT NULL,                                -- JSON
    expires_at bigint,                                  -- set when the run ends
    PRIMARY KEY (thread_id, seq)
);
CREATE INDEX events_run ON events (run_id, ms, n);
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- Deliveries of webhooks, and their tries.

CREATE TABLE deliveries (
    seq bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,    -- order of creation
    delivery_id text COLLATE "C" NOT NULL UNIQUE,
    run_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    url text NOT NULL,
    body bytea NOT NULL,                                -- JSON
    status text COLLATE "C" NOT NULL,
    due bigint NOT NULL,                                -- of a claimed one: when the claim is over
    worker text,                                        -- who claimed it
    claims bigint NOT NULL,                             -- how often it was claimed
    tries_left bigint NOT NULL,
    tries text NOT NULL,                                -- JSON: a record of each try
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    expires_at bigint,                                  -- when it may be deleted, once it is not pending
    host text COLLATE "C" NOT NULL DEFAULT ''           -- of url: what waits for a host that does not respond is passed over
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
    version bigint NOT NULL,                            -- the one in use; the columns below repeat it
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    name text NOT NULL,
    folded text COLLATE "C" NOT NULL,                   -- name, for case-blind comparison
    description text,
    config text NOT NULL,                               -- JSON
    context text NOT NULL,                              -- JSON
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL                               -- metadata, to be searched
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
    search jsonb NOT NULL,                              -- metadata, to be searched
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
    ends_at bigint,                                     -- the moment that is
    payload text NOT NULL,                              -- JSON: the request of each run
    next_run_date bigint,                               -- NULL: never again
    metadata text NOT NULL,                             -- JSON
    search jsonb NOT NULL,                              -- metadata, to be searched
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

-- Items of the long-term store and their vectors. Namespaces may be longer than an index takes, so it has their beginnings.

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

-- How the content is encrypted: the check values of keys (docs/encryption.md). Never a key itself.

CREATE TABLE seals (
    name text PRIMARY KEY,
    value text NOT NULL
);
