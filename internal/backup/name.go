package backup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Format is how the data of a backup stands in its file.
type Format string

// Formats, by the ending of the file.
const (
	FormatContainer Format = "crmctl"
	FormatPgDump    Format = "pgdump" // pg_dump -Fc
)

// registrySlug stands where a tenant's name does; no slug has an underscore.
const registrySlug = "_registry"

// Name is what the name of a backup's file says:
// acme-corp-20261124T091500Z-v4.crmctl, with .age behind it when it is encrypted.
type Name struct {
	Slug      string // "" for the registry
	TakenAt   time.Time
	Version   int64
	Format    Format
	Encrypted bool
}

const timeLayout = "20060102T150405Z"

// String returns the name of the file.
func (n Name) String() string {
	slug, ending := n.Slug, ".crmctl"
	if slug == "" {
		slug = registrySlug
	}
	if n.Format == FormatPgDump {
		ending = ".dump"
	}
	if n.Encrypted {
		ending += ".age"
	}
	return fmt.Sprintf("%s-%s-v%d%s", slug, n.TakenAt.UTC().Format(timeLayout), n.Version, ending)
}

// ParseName reads the name of a file. It is false for any that String would not
// have made: such a file is none of ours.
func ParseName(file string) (Name, bool) {
	m := regexp.MustCompile(`^(.+)-(\d{8}T\d{6}Z)-v(\d{1,19})\.(crmctl|dump)(\.age)?$`).FindStringSubmatch(file)
	if m == nil {
		return Name{}, false
	}
	at, err := time.Parse(timeLayout, m[2])
	if err != nil {
		return Name{}, false
	}
	version, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil {
		return Name{}, false
	}
	n := Name{Slug: m[1], TakenAt: at, Version: version, Format: FormatContainer, Encrypted: m[5] != ""}
	if m[4] == "dump" {
		n.Format = FormatPgDump
	}
	if n.Slug == registrySlug {
		n.Slug = ""
	} else if checkSlug(n.Slug) != nil {
		return Name{}, false
	}
	return n, n.String() == file
}

// isTemporary reports whether a name is that of a file that is being written.
func isTemporary(file string) bool {
	return strings.HasPrefix(file, tempPrefix) && strings.HasSuffix(file, tempSuffix)
}

const (
	tempPrefix = ".crmctl-"
	tempSuffix = ".tmp"
)
