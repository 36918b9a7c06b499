-- A page of threads in each order that can be asked for, without sorting all of them.

CREATE INDEX threads_created ON threads (created_at, seq);

CREATE INDEX threads_state_updated ON threads (state_updated_at, seq);

CREATE INDEX threads_status_updated ON threads (status, updated_at, seq);
