ALTER TABLE blobs ADD COLUMN base INTEGER;                  -- the version that data are instructions over, NULL: data is whole
ALTER TABLE blobs ADD COLUMN number INTEGER NOT NULL DEFAULT 1;   -- of the version in its chain
ALTER TABLE blobs ADD COLUMN size INTEGER NOT NULL DEFAULT 0;     -- of the whole value
