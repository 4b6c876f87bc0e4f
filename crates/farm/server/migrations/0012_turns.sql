-- The number of a story in its channel's stream: it begins no earlier than the one before it has ended. 0: it was not begun.
ALTER TABLE tasks ADD COLUMN story BIGINT NOT NULL DEFAULT 0;
UPDATE tasks SET story = (SELECT created FROM builds WHERE builds.id = tasks.build)
    WHERE channel <> '' AND telling > 0 AND telling < 9223372036854775807;
CREATE INDEX tasks_by_channel ON tasks (channel) WHERE channel <> '';
