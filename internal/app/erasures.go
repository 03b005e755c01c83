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
// not be able to try. The file may hold several keys, a line each: erasures are made with the
// first, and persons are known again by any.

// ErasureKeyError says that the key of erasures is not there, or is another one.
type ErasureKeyError struct {
	File string   // "" where none is named
	Need []string // which keys are needed, by their ids
	Has  []string // the ids of the keys in the file
}

func (e *ErasureKeyError) Error() string {
	text := "erased persons are known by the key " + strings.Join(e.Need, ", ")
	switch {
	case e.File == "":
		return text + ", and no file of a key is named"
	case len(e.Has) == 0:
		return text + ", and there is no " + e.File
	}
	return text + "; " + e.File + " holds " + strings.Join(e.Has, ", ")
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

// erasureKeys are those of a file, that for new erasures first.
type erasureKeys []erasureKey

// ids returns the names of the keys.
func (k erasureKeys) ids() []string {
	var ids []string
	for _, key := range k {
		ids = append(ids, key.id)
	}
	return ids
}

// readErasureKeys reads the keys of a file, none where there is no such file.
func readErasureKeys(path string) (erasureKeys, error) {
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
	var keys erasureKeys
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := hex.DecodeString(line)
		if err != nil || len(key) < sha256.Size {
			return nil, inputErrorf("%s:%d: no key: want 64 hexadecimal digits", path, n)
		}
		sum := sha256.Sum256(append([]byte("crmctl erasure key "), key...))
		keys = append(keys, erasureKey{id: hex.EncodeToString(sum[:4]), key: key})
	}
	if len(keys) == 0 {
		return nil, inputErrorf("%s holds no key: want 64 hexadecimal digits", path)
	}
	return keys, nil
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
// erasure makes one. Where there are erasures by keys that are not in the file, and by none that
// is, only anew takes it: the file may be another one than it was.
func (a *App) openErasureKey(ctx context.Context, q db.Querier, anew bool) (*erasureKey, error) {
	path := a.Config.ErasureKeyFile
	if path == "" {
		return nil, inputErrorf("there is no place for the key of erasures: name a file")
	}
	need, err := a.Registry.ErasureKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	keys, err := readErasureKeys(path)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(keys.ids(), func(id string) bool { return slices.Contains(need, id) })
	if len(need) > 0 && !known && !anew {
		return nil, &ErasureKeyError{File: path, Need: need, Has: keys.ids()}
	}
	if len(keys) == 0 {
		if err := makeErasureKey(path); err != nil {
			return nil, err
		}
		if keys, err = readErasureKeys(path); err != nil || len(keys) == 0 {
			return nil, errors.Join(err, inputErrorf("the key of erasures has gone from %s", path))
		}
	}
	return &keys[0], nil
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
		keys, err := readErasureKeys(a.Config.ErasureKeyFile)
		if err != nil {
			return nil, err
		}
		wanted, missing, needed := map[string]bool{}, []string{}, map[string]bool{}
		for _, e := range list {
			if !slices.Contains(keys.ids(), e.KeyID) && !slices.Contains(missing, e.KeyID) {
				missing = append(missing, e.KeyID)
			}
			wanted[e.Hash], needed[e.KeyID] = true, true
		}
		if len(missing) > 0 {
			return nil, &ErasureKeyError{File: a.Config.ErasureKeyFile, Need: missing, Has: keys.ids()}
		}
		keys = slices.DeleteFunc(keys, func(k erasureKey) bool { return !needed[k.id] })
		held, err := crm.EraseWithin(ctx, q, schema, db.Path{}, func(text string) bool {
			canonical, ok := crm.Canonical(text)
			return ok && slices.ContainsFunc(keys, func(k erasureKey) bool { return wanted[k.hash(canonical)] })
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
