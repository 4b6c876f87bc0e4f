-- What holds for the farm as a whole, a line each.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The name of a blob's bytes in the bucket; none: they are in the server's folder.
ALTER TABLE blobs ADD COLUMN place TEXT;
