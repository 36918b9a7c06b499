-- Deliveries: what webhooks are to be told, and how that went.

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of making
    delivery_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    url TEXT NOT NULL,
    body BLOB NOT NULL,
    status TEXT NOT NULL,
    due INTEGER NOT NULL,                           -- of a claimed one: when the claim is over
    worker TEXT,                                    -- who claimed it
    claims INTEGER NOT NULL,
    tries_left INTEGER NOT NULL,
    tries TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER                              -- when it may go, once it is not pending
);
CREATE INDEX deliveries_due ON deliveries (due) WHERE status = 'pending';
CREATE INDEX deliveries_run ON deliveries (run_id);
CREATE INDEX deliveries_thread ON deliveries (thread_id);
CREATE INDEX deliveries_expires ON deliveries (expires_at) WHERE expires_at IS NOT NULL;
