-- Who sent the bytes of a blob, or was told that they are here: he may name it in what he submits or has made.
CREATE TABLE holders (
    sha256 TEXT NOT NULL REFERENCES blobs (sha256) ON DELETE CASCADE,
    holder TEXT NOT NULL,
    PRIMARY KEY (sha256, holder)
);
