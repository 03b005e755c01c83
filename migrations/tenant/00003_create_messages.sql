-- +goose Up
create table messages (
    id              uuid        not null default gen_random_uuid(),
    conversation_id uuid        not null,
    direction       text        not null,
    sender          text,
    content         text        not null,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint messages_pkey primary key (id),
    constraint messages_conversation_id_fkey foreign key (conversation_id) references conversations (id) on delete cascade,
    constraint messages_direction_known check (direction in ('inbound', 'outbound'))
);

create index idx_messages_conversation_created on messages (conversation_id, created_at desc);
create index idx_messages_content on messages using gin (to_tsvector('english', content));

-- +goose Down
drop table messages;
