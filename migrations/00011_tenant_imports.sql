-- What was imported into tenants, how far an import that commits as it goes has come,
-- and what it takes to find its rows again.

-- +goose Up
create table tenant_imports (
    id           bigint      generated always as identity,
    tenant_id    uuid        not null references tenants (id) on delete cascade,
    key          uuid        not null,
    file         text        not null,
    bytes        bigint      not null,
    sha256       text,
    options      jsonb       not null default '{}',
    counts       jsonb       not null default '{}',
    state        text        not null,
    done         bigint      not null default 0,
    reject_file  text,
    reject_bytes bigint,
    actor        text        not null,
    program      text,
    started_at   timestamptz not null default now(),
    finished_at  timestamptz,
    undo_until   timestamptz,
    undone_at    timestamptz,
    undone_by    text,
    constraint tenant_imports_pkey primary key (id),
    constraint tenant_imports_state_known check (state in ('unfinished', 'done', 'abandoned', 'undone', 'partly_undone'))
);

create index idx_tenant_imports_tenant on tenant_imports (tenant_id, id);

comment on table tenant_imports is 'Files that were imported into tenants.';
comment on column tenant_imports.key is 'What the import is called in the tenant''s schema, where replaced values are kept.';
comment on column tenant_imports.options is 'The mapping and the policies: with others an unfinished import does not go on.';
comment on column tenant_imports.done is 'Records of the file that are committed; an unfinished import goes on behind them.';
comment on column tenant_imports.reject_bytes is 'Length of the reject file that belongs to the records that are committed.';
comment on column tenant_imports.undo_until is 'Until when it can be taken back; empty where it never could.';

create table tenant_import_parts (
    import_id bigint      not null references tenant_imports (id) on delete cascade,
    part      integer     not null,
    first_id  uuid        not null,
    last_id   uuid        not null,
    xid       text        not null,
    loaded_at timestamptz not null default now(),
    constraint tenant_import_parts_pkey primary key (import_id, part)
);

comment on table tenant_import_parts is 'The transactions of imports: the ids of the contacts that each has made lie between two.';

-- +goose Down
drop table tenant_import_parts;
drop table tenant_imports;
