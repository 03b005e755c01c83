-- The ledger of fleet runs.

-- +goose Up
create table migration_runs (
    id             bigint      primary key generated always as identity,
    kind           text        not null default 'migrate',
    actor          text        not null,
    target_version bigint      not null,
    tenants        integer     not null default 0,
    succeeded      integer     not null default 0,
    failed         integer     not null default 0,
    not_started    integer     not null default 0,
    started_at     timestamptz not null default now(),
    finished_at    timestamptz,
    detail         jsonb       not null default '{}'
);

comment on table migration_runs is 'One row a run over the fleet; finished_at is empty while it runs or when it was killed.';

create table migration_run_tenants (
    run_id       bigint      not null references migration_runs (id) on delete cascade,
    tenant_id    uuid        not null,
    slug         text        not null,
    from_version bigint      not null,
    to_version   bigint      not null,
    state        text        not null,
    attempts     integer     not null default 1,
    duration_ms  bigint      not null default 0,
    sqlstate     text,
    place        text,
    message      text,
    primary key (run_id, tenant_id)
);

comment on table migration_run_tenants is 'What became of each tenant of a run.';

-- +goose Down
drop table migration_run_tenants;
drop table migration_runs;
