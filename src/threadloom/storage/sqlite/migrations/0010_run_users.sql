-- Who started a run; NULL where nobody is told apart.

ALTER TABLE runs ADD COLUMN user_id TEXT;
