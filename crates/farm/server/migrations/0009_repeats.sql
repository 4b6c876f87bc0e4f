-- When the newest build of a name is submitted again.
CREATE TABLE repeats (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    keep_lock BIGINT NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created BIGINT NOT NULL,
    next BIGINT,
    last BIGINT,
    -- what it submitted last, and why it submitted nothing the last time
    build TEXT REFERENCES builds (id) ON DELETE SET NULL,
    error TEXT,
    hint TEXT
);

CREATE INDEX repeats_by_project ON repeats (project, name);
CREATE INDEX repeats_by_build ON repeats (build);
CREATE INDEX repeats_due ON repeats (next) WHERE enabled = 1;
