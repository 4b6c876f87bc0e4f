-- How long a task may run, milliseconds; 0: as long as it takes.
ALTER TABLE tasks ADD COLUMN lasts BIGINT NOT NULL DEFAULT 0;
-- Bytes of output in a build's log.
ALTER TABLE builds ADD COLUMN output BIGINT NOT NULL DEFAULT 0;
