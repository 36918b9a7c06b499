-- Deliveries by host, so that what waits for a host that does not answer can be passed over.

ALTER TABLE deliveries ADD COLUMN host TEXT NOT NULL DEFAULT '';
CREATE INDEX deliveries_host ON deliveries (host, due, seq) WHERE status = 'pending';
