-- Bytes of uploads under way that lie in the bucket, where every server finds them.
CREATE TABLE parked (
    name TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    -- the upload's bytes from the one to before the other
    begins BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    made BIGINT NOT NULL
);

CREATE INDEX parked_by_upload ON parked (sha256);
