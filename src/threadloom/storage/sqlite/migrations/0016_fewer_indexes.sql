-- What each run wrote without need.

-- Runs that run are few: those whose lease is over are found among them.
DROP INDEX runs_leases;

-- A thread that shows no state yet shares none.
DROP INDEX threads_state;
CREATE INDEX threads_state ON threads (state_id) WHERE state_id IS NOT NULL;
