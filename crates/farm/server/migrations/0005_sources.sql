-- Git repositories whose recipes a project builds.
CREATE TABLE sources (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    branches TEXT NOT NULL,
    recipes TEXT NOT NULL,
    -- what pushes are signed with and what opens a private repository, so they are kept as they are
    secret TEXT NOT NULL,
    credential TEXT,
    created BIGINT NOT NULL
);

CREATE INDEX sources_by_project ON sources (project, id);

-- What a source was told, and what came of it.
CREATE TABLE pushes (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    branch TEXT NOT NULL,
    -- the commit, and the one before the push
    sha TEXT,
    base TEXT,
    -- what is told again is the same push
    once TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- waiting, done, failed
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    ended BIGINT,
    error TEXT,
    hint TEXT,
    recipes TEXT NOT NULL,
    UNIQUE (source, once)
);

CREATE INDEX pushes_waiting ON pushes (not_before) WHERE state = 'waiting';

-- When a source's branch is built whether or not anything changed.
CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    branch TEXT NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created BIGINT NOT NULL,
    next BIGINT,
    last BIGINT
);

CREATE INDEX schedules_due ON schedules (next) WHERE enabled = 1;

-- Who at a provider of logins opens which account; `made`: it was made for them.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    owner TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    made BIGINT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);

-- Logins there that are under way, by the digest of their state.
CREATE TABLE logins (
    state TEXT PRIMARY KEY,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    owner TEXT REFERENCES users (id) ON DELETE CASCADE,
    expires BIGINT NOT NULL
);
