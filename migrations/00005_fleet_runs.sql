-- What a CI job wants to know of a run afterwards, and what a run has to know of
-- those before it.

-- +goose Up
-- An update in place needs room on the page.
alter table tenants set (fillfactor = 80);

alter table migration_runs add column state text not null default 'running';
alter table migration_runs add column reason text;
alter table migration_runs add column heartbeat_at timestamptz;
update migration_runs set state = case when finished_at is null then 'killed' else 'finished' end;
update migration_runs set finished_at = started_at where finished_at is null;
alter table migration_runs add constraint migration_runs_state_known
    check (state in ('running', 'finished', 'stopped', 'killed'));

comment on column migration_runs.kind is 'migrate, rollback or redo.';
comment on column migration_runs.state is 'running; finished; stopped before its end, for the reason given; killed and closed by a later run.';
comment on column migration_runs.heartbeat_at is 'Last sign of life of a run whose session cannot hold a lock, since a pooler stands between.';

alter table migration_run_tenants add column statement text;

create table migration_files (
    version     bigint      primary key,
    file        text        not null,
    checksum    text        not null,
    recorded_at timestamptz not null default now()
);

comment on table migration_files is 'The tenant migrations that were applied to any tenant, as they were then.';

create table tenant_dirty (
    tenant_id  uuid        primary key references tenants (id) on delete cascade,
    version    bigint      not null,
    file       text        not null,
    checksum   text        not null,
    down       boolean     not null default false,
    done       integer     not null default 0,
    statements integer     not null,
    running    boolean     not null default true,
    sqlstate   text,
    message    text,
    since      timestamptz not null default now()
);

comment on table tenant_dirty is 'Tenants in the middle of a migration that cannot run in a transaction.';
comment on column tenant_dirty.done is 'Statements of the file that are known to be done.';
comment on column tenant_dirty.running is 'The next statement was sent and its end is not known; false when it is known to have failed.';

-- +goose Down
drop table tenant_dirty;
drop table migration_files;
alter table migration_run_tenants drop column statement;
alter table migration_runs drop constraint migration_runs_state_known;
alter table migration_runs drop column heartbeat_at;
alter table migration_runs drop column reason;
alter table migration_runs drop column state;
alter table tenants reset (fillfactor);
