-- Persons whose data was erased, so that a backup from before does not bring it back.

-- +goose Up
create table tenant_erasures (
    tenant_id uuid        not null,
    key_id    text        not null,
    hash      text        not null,
    actor     text        not null,
    erased_at timestamptz not null default clock_timestamp(),
    constraint tenant_erasures_pkey primary key (tenant_id, key_id, hash)
);

comment on table tenant_erasures is 'Persons whose data was erased. It outlives the tenants: a backup may bring one back.';
comment on column tenant_erasures.tenant_id is 'Zeros stand for all tenants.';
comment on column tenant_erasures.key_id is 'Tells which key the hash was made with; the key itself is in no database.';
comment on column tenant_erasures.hash is 'HMAC-SHA-256 of the e-mail address, in hexadecimal.';
comment on column tenant_erasures.erased_at is 'What was saved after it is left alone.';

-- +goose Down
drop table tenant_erasures;
