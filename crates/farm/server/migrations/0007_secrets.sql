-- What builds of a project use and nobody is shown; sealed with a key that is not in the database.
CREATE TABLE secrets (
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    -- which key it was sealed with
    seal TEXT NOT NULL,
    changed BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (project, name)
);
