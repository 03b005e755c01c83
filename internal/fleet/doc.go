// Package fleet works through many tenants with a few connections: a shared
// queue, one connection a worker, a busy tenant back to the end of the queue
// instead of a held-up worker, a stop that lets the tenants in flight finish.
//
// It knows nothing of what is done to a tenant. A failing tenant never disturbs
// another, and every one ends in a named state. It imports db alone.
package fleet
