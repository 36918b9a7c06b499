-- What each run wrote to the log without need.

-- The index by status and moment answers for the status alone.
DROP INDEX threads_status;

-- Most segments have no parent.
DROP INDEX segs_parent;
CREATE INDEX segs_parent ON segs (parent, upto) WHERE parent IS NOT NULL;
