-- Crons: schedules that start runs.

CREATE TABLE crons (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of making
    cron_id TEXT NOT NULL UNIQUE,
    assistant_id TEXT NOT NULL,
    thread_id TEXT,
    user_id TEXT,
    schedule TEXT NOT NULL,
    timezone TEXT,
    end_time TEXT,                                  -- as the caller wrote it
    ends_at INTEGER,                                -- the moment that is
    payload TEXT NOT NULL,
    next_run_date INTEGER,                          -- NULL: never again
    metadata TEXT NOT NULL,
    on_run_completed TEXT,
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_fired_at INTEGER,
    last_run_id TEXT,
    last_error TEXT
);
CREATE INDEX crons_due ON crons (next_run_date) WHERE enabled AND next_run_date IS NOT NULL;
CREATE INDEX crons_thread ON crons (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX crons_assistant ON crons (assistant_id);
