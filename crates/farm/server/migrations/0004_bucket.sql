-- What holds for the farm as a whole, a line each.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The name of a blob's bytes in the bucket; none: they are in the server's folder.
ALTER TABLE blobs ADD COLUMN place TEXT;

-- Stages that nodes share: a packed layer under the id of what made it.
CREATE TABLE stages (
    id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    made BIGINT NOT NULL,
    used BIGINT NOT NULL
);

CREATE INDEX stages_by_blob ON stages (sha256);
