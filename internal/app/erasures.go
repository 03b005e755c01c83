package app

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// An erased person is known again by the HMAC of the address. The key is in a file and in no
// database: an address can be guessed, and who has only the registry, or a backup of it, must
// not be able to try.

// ErasureKeyError says that the key of erasures is not there, or is another one.
type ErasureKeyError struct {
	File string   // "" where none is named
	Need []string // which keys are needed, by their ids
	Has  string   // the id of the key in the file, "" for none
}

func (e *ErasureKeyError) Error() string {
	text := "erased persons are known by the key " + strings.Join(e.Need, ", ")
	switch {
	case e.File == "":
		return text + ", and no file of a key is named"
	case e.Has == "":
		return text + ", and there is no " + e.File
	}
	return text + "; " + e.File + " holds the key " + e.Has
}

// PersonsErased says that erasures were applied to a tenant that was restored.
type PersonsErased struct {
	Slug string
	Held crm.Held
}

func (PersonsErased) notice() {}

type erasureKey struct {
	id  string
	key []byte
}

func (k *erasureKey) hash(canonical string) string {
	mac := hmac.New(sha256.New, k.key)
	mac.Write([]byte(canonical))
	return hex.EncodeToString(mac.Sum(nil))
}

// name returns the id of a key, "" for none.
func (k *erasureKey) name() string {
	if k == nil {
		return ""
	}
	return k.id
}

// readErasureKey reads the key of a file, nil where there is none.
func readErasureKey(path string) (*erasureKey, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &InputError{err}
	}
	if err := privateFile(path, info); err != nil {
		return nil, &InputError{err}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &InputError{err}
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) < sha256.Size {
		return nil, inputErrorf("%s holds no key: want 64 hexadecimal digits", path)
	}
	sum := sha256.Sum256(append([]byte("crmctl erasure key "), key...))
	return &erasureKey{id: hex.EncodeToString(sum[:4]), key: key}, nil
}

// makeErasureKey makes the file of a new key, for its owner alone, unless there is one by now.
func makeErasureKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return &InputError{err}
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".erasure-*") // with mode 0600
	if err != nil {
		return &InputError{err}
	}
	defer func() { _ = os.Remove(out.Name()) }()
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	_, err = out.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return &InputError{err}
	}
	// A link, and no rename: a key that another process has made meanwhile stays.
	if err := os.Link(out.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return &InputError{err}
	}
	return nil
}

// openErasureKey returns the key with which this registry's erasures are made; the first
// erasure makes one.
func (a *App) openErasureKey(ctx context.Context, q db.Querier) (*erasureKey, error) {
	path := a.Config.ErasureKeyFile
	if path == "" {
		return nil, inputErrorf("there is no place for the key of erasures: name a file")
	}
	need, err := a.Registry.ErasureKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	key, err := readErasureKey(path)
	if err != nil {
		return nil, err
	}
	if len(need) > 0 && !slices.Contains(need, key.name()) {
		return nil, &ErasureKeyError{File: path, Need: need, Has: key.name()}
	}
	if key != nil {
		return key, nil
	}
	if err := makeErasureKey(path); err != nil {
		return nil, err
	}
	return readErasureKey(path)
}

// forget returns what applies the erasures to a tenant that is restored: those after its
// backup was begun. skip leaves them out.
func (a *App) forget(skip bool) backup.Forget {
	return func(ctx context.Context, q db.Querier, schema db.Schema, saved, made backup.Tenant,
		takenAt time.Time) (map[string]any, error) {
		if err := a.Registry.CopyErasures(ctx, q, saved.ID, made.ID); err != nil {
			return nil, err
		}
		list, err := a.Registry.ListErasures(ctx, q, []string{made.ID}, takenAt)
		if err != nil || len(list) == 0 || skip {
			return nil, err
		}
		key, err := readErasureKey(a.Config.ErasureKeyFile)
		if err != nil {
			return nil, err
		}
		wanted, missing := map[string]bool{}, []string{}
		for _, e := range list {
			if e.KeyID != key.name() && !slices.Contains(missing, e.KeyID) {
				missing = append(missing, e.KeyID)
			}
			wanted[e.Hash] = true
		}
		if len(missing) > 0 {
			return nil, &ErasureKeyError{File: a.Config.ErasureKeyFile, Need: missing, Has: key.name()}
		}
		held, err := crm.EraseWithin(ctx, q, schema, db.Path{}, func(text string) bool {
			canonical, ok := crm.Canonical(text)
			return ok && wanted[key.hash(canonical)]
		})
		if err != nil {
			return nil, fmt.Errorf("apply the erasures: %w", err)
		}
		if held.Erasable() == 0 {
			return nil, nil
		}
		a.Notify(PersonsErased{made.Slug, held})
		return map[string]any{"erased": heldDetail(held)}, nil
	}
}

// heldDetail is what the audit has of an erasure.
func heldDetail(h crm.Held) map[string]any {
	return map[string]any{"contacts": h.Contacts, "conversations": h.Conversations, "messages": h.Messages, "kept": h.Kept}
}

// erasures returns the erasure of a person in tenants, nil for all.
func (a *App) erasures(key *erasureKey, address crm.Address, tenants []registry.Tenant) []registry.Erasure {
	e := registry.Erasure{KeyID: key.id, Hash: key.hash(address.Canonical()), Actor: a.Actor}
	if tenants == nil {
		return []registry.Erasure{e}
	}
	out := make([]registry.Erasure, len(tenants))
	for i, t := range tenants {
		out[i] = e
		out[i].TenantID = t.ID
	}
	return out
}
