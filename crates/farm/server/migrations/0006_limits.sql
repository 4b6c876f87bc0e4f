-- How long a task may run, milliseconds; 0: as long as it takes.
ALTER TABLE tasks ADD COLUMN lasts BIGINT NOT NULL DEFAULT 0;
-- Which Redis channel hears of it (none: empty), which server tells it, and until when nobody else does.
ALTER TABLE tasks ADD COLUMN channel TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN teller TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN telling BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tasks_by_telling ON tasks (telling) WHERE channel <> '';
-- Bytes of output in a build's log.
ALTER TABLE builds ADD COLUMN output BIGINT NOT NULL DEFAULT 0;
