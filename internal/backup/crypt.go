package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// ParseRecipient reads who may open a backup: a public key of age ("age1…") or of
// SSH ("ssh-ed25519 …", "ssh-rsa …").
func ParseRecipient(text string) (age.Recipient, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "ssh-") {
		r, err := agessh.ParseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("read the SSH key: %w", err)
		}
		return r, nil
	}
	if strings.HasPrefix(text, "AGE-SECRET-KEY-") || strings.HasPrefix(text, "AGE-PLUGIN-") {
		return nil, errors.New("this is a secret key; the public one begins with age1")
	}
	list, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(list) != 1 {
		return nil, errors.New("want a public key that begins with age1, ssh-ed25519 or ssh-rsa")
	}
	return list[0], nil
}

// maxIdentity bounds a file of secret keys.
const maxIdentity = 1 << 20

// ReadIdentities reads a file with secret keys: those of age, a line each, or a
// private key of SSH without a passphrase. One that others can read is refused, as ssh
// does.
func ReadIdentities(path string) ([]age.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte("-----BEGIN")) {
		id, err := agessh.ParseIdentity(text)
		if err != nil {
			return nil, fmt.Errorf("%s: read the SSH key (it must have no passphrase): %w", path, err)
		}
		return []age.Identity{id}, nil
	}
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// age's own words repeat the line, which may hold a secret.
		return nil, fmt.Errorf("%s: no secret keys of age in it", path)
	}
	return list, nil
}

// decrypted returns what in holds in the clear. The error wraps ErrEncrypted where
// none of the identities opens it, which a change of the part of its head that is for
// the recipient looks like, too; and ErrCorrupt where it was cut or changed elsewhere.
func decrypted(in io.Reader, identities []age.Identity) (io.Reader, error) {
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: an identity is needed to read it", ErrEncrypted)
	}
	source := &rememberingReader{in: in}
	out, err := age.Decrypt(source, identities...)
	if err == nil {
		return &cipherReader{out, source}, nil
	}
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w: for others than this identity, or its head was changed", ErrEncrypted)
	}
	return nil, cipherError(err, source, "its encrypted head")
}

// cipherReader calls a failed decryption by its name: the file was cut or changed.
type cipherReader struct {
	in     io.Reader
	source *rememberingReader
}

// Read implements io.Reader.
func (c *cipherReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err == nil || err == io.EOF { // a wrapped one is not the end
		return n, err
	}
	return n, cipherError(err, c.source, "what is encrypted in it")
}

// cipherError tells a file that could not be read from one that was cut, and from one
// that was changed. A file that was cut between two of age's chunks looks changed.
func cipherError(err error, source *rememberingReader, part string) error {
	switch {
	case source.err != nil:
		return readError(source.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("it ends within %s", part)
	}
	return corrupt("%s was cut or changed", part)
}
