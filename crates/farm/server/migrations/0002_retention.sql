-- What a project keeps; none: all.
ALTER TABLE projects ADD COLUMN keep_builds BIGINT;
ALTER TABLE projects ADD COLUMN keep_days BIGINT;
ALTER TABLE projects ADD COLUMN keep_failed_days BIGINT;

ALTER TABLE builds ADD COLUMN pinned BIGINT NOT NULL DEFAULT 0;

-- When somebody said last that a blob is wanted.
ALTER TABLE blobs ADD COLUMN used BIGINT NOT NULL DEFAULT 0;
UPDATE blobs SET used = created;

-- The blobs that a task is made from.
CREATE TABLE inputs (
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (task, sha256)
);

CREATE INDEX inputs_by_blob ON inputs (sha256);

-- A work's JSON began with these words until now.
INSERT INTO inputs (task, sha256)
SELECT id, substr(work, 27, 64) FROM tasks WHERE work LIKE '{"kind":"image","bundle":"%';
