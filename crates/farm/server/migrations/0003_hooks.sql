-- Whom a project tells of its builds.
CREATE TABLE hooks (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- what bodies are signed with, so it is kept as it is
    secret TEXT NOT NULL,
    events TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- the number of the last delivery
    last BIGINT NOT NULL
);

CREATE INDEX hooks_by_project ON hooks (project, id);

-- What is to be told, written with what it tells of; a hook's are sent in the order of their numbers.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    hook TEXT NOT NULL REFERENCES hooks (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- waiting, delivered, given-up
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- before when it is not to be tried again
    not_before BIGINT NOT NULL,
    ended BIGINT,
    -- what came of the last attempt
    status BIGINT,
    error TEXT,
    UNIQUE (hook, number)
);

CREATE INDEX deliveries_waiting ON deliveries (hook, number) WHERE state = 'waiting';
