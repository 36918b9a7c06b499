-- For whom a cron's runs are made: what is kept of its maker (identity, name, permissions). NULL: nobody in particular.
ALTER TABLE crons ADD COLUMN user TEXT;
