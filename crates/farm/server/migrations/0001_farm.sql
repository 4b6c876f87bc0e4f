-- SQLite and PostgreSQL both read this. Times are milliseconds since 1970; ids and digests are text; lists are JSON.

CREATE TABLE projects (
    name TEXT PRIMARY KEY,
    created BIGINT NOT NULL,
    open BIGINT NOT NULL,
    weight BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password TEXT,
    admin BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE members (
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    member TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (project, member)
);

-- Secrets are kept as their SHA-256: they are random and long, so nothing is to be guessed.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    secret TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT
);

CREATE TABLE sessions (
    secret TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

-- What opens the door once: a login without a password.
CREATE TABLE invitations (
    secret TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires BIGINT NOT NULL
);

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    secret TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    draining BIGINT NOT NULL,
    seen BIGINT,
    resources TEXT
);

CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (name),
    name TEXT NOT NULL,
    priority BIGINT NOT NULL,
    submitter TEXT NOT NULL,
    state TEXT NOT NULL,
    created BIGINT NOT NULL,
    began BIGINT,
    ended BIGINT,
    -- the number of the last event
    events BIGINT NOT NULL,
    once TEXT,
    UNIQUE (project, once)
);

CREATE INDEX builds_by_project ON builds (project, id);
CREATE INDEX builds_by_state ON builds (state, id);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    priority BIGINT NOT NULL,
    work TEXT NOT NULL,
    needs TEXT NOT NULL,
    arch TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    losses BIGINT NOT NULL,
    -- when it came into the queue, and before when it is not to leave it
    queued BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    node TEXT,
    until BIGINT,
    stopping BIGINT NOT NULL,
    -- the number of the last event taken in this epoch
    told BIGINT NOT NULL,
    began BIGINT,
    ended BIGINT,
    fault TEXT,
    message TEXT,
    hint TEXT,
    UNIQUE (build, name)
);

CREATE INDEX tasks_by_state ON tasks (state, priority, queued);
CREATE INDEX tasks_by_node ON tasks (node, state);

CREATE TABLE events (
    build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    -- log, progress, or step: what a build is made of
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (build, seq)
);

CREATE INDEX steps ON events (build, seq) WHERE kind = 'step';

CREATE TABLE artifacts (
    build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (task, name)
);

CREATE INDEX artifacts_by_build ON artifacts (build);
CREATE INDEX artifacts_by_blob ON artifacts (sha256);

CREATE TABLE blobs (
    sha256 TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    subject TEXT NOT NULL
);
