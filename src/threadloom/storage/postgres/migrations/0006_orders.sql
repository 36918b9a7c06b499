-- A page of threads in this order too, without sorting all of them.

CREATE INDEX threads_state_updated ON threads (state_updated_at);
