package adopt

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/crmctl/crmctl/internal/migrate"
)

// ErrMap says that a mapping of another program's migrations to files cannot be used.
var ErrMap = errors.New("mapping of migrations")

// Map says which versions a migration of another program stands for, by its name
// without the ending. One migration may stand for several files, several
// together may stand for one, and one that stands for none has an empty list.
type Map map[string][]int64

// ReadMap reads a mapping, as YAML where the file is called .yaml or .yml:
//
//	20240101120000_create_contacts.js: 1
//	20240105090000_conversations.js: [2, 3]
//	20240109100000_demo_data.js: []
//
// and as CSV otherwise, a pair a line, with or without a header. A name in
// several lines stands for several versions, "-" for none.
func ReadMap(file string, r io.Reader) (Map, error) {
	var (
		m   Map
		err error
	)
	switch path.Ext(file) {
	case ".yaml", ".yml":
		m, err = readMapYAML(r)
	default:
		m, err = readMapCSV(r)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrMap, file, err)
	case len(m) == 0:
		return nil, fmt.Errorf("%w: %s: nothing in it", ErrMap, file)
	}
	return m, nil
}

func readMapYAML(r io.Reader) (Map, error) {
	var nodes map[string]yaml.Node
	if err := yaml.NewDecoder(r).Decode(&nodes); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m := make(Map, len(nodes))
	for name, node := range nodes {
		versions := []int64{}
		if node.Kind == yaml.SequenceNode {
			if err := node.Decode(&versions); err != nil {
				return nil, fmt.Errorf("%s: want a version or a list of them", name)
			}
		} else {
			var one int64
			if err := node.Decode(&one); err != nil {
				return nil, fmt.Errorf("%s: want a version or a list of them", name)
			}
			versions = append(versions, one)
		}
		if _, twice := m[plainName(name)]; twice {
			return nil, fmt.Errorf("%s stands there twice, with different endings", name)
		}
		m[plainName(name)] = versions
	}
	return m, nil
}

func readMapCSV(r io.Reader) (Map, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.TrimLeadingSpace, in.Comment = 2, true, '#'
	m := make(Map)
	for first := true; ; first = false {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		name, value := plainName(strings.TrimPrefix(record[0], "\ufeff")), strings.TrimSpace(record[1])
		if value == "-" {
			m[name] = append([]int64{}, m[name]...)
			continue
		}
		version, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err == nil:
			m[name] = append(m[name], version)
		case first: // a header
		default:
			line, _ := in.FieldPos(1)
			return nil, fmt.Errorf("line %d: %q is no version", line, value)
		}
	}
}

// check refuses versions that the plan does not have.
func (m Map) check(p *migrate.Plan) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[name] {
			if p.Migration(v) == nil {
				return fmt.Errorf("%w: %s stands for version %d, which no file has", ErrMap, name, v)
			}
		}
	}
	return nil
}

// versions returns what a schema with the given migrations has of the
// plan, in ascending order.
func (m Map) versions(names []string) ([]int64, error) {
	has := make(map[string]bool, len(names))
	var unknown []string
	for _, n := range names {
		key := plainName(n)
		if _, ok := m[key]; !ok {
			unknown = append(unknown, n)
		}
		has[key] = true
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: no file is known for %s", ErrHistory, few(unknown))
	}
	var out []int64
	for version, parts := range m.byVersion() {
		var missing []string
		for _, n := range parts {
			if !has[n] {
				missing = append(missing, n)
			}
		}
		switch {
		case len(missing) == 0:
			out = append(out, version)
		case len(missing) < len(parts):
			return nil, fmt.Errorf("%w: version %d is there in part, without %s", ErrHistory, version, few(missing))
		}
	}
	slices.Sort(out)
	return out, nil
}

// byVersion turns the map around: which migrations make a version.
func (m Map) byVersion() map[int64][]string {
	out := make(map[int64][]string)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[name] {
			out[v] = append(out[v], name)
		}
	}
	return out
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// plainName returns the name of a migration without the ending of its language,
// which changes when a team moves to TypeScript, say.
func plainName(file string) string {
	file = strings.TrimSpace(file)
	switch ext := path.Ext(file); ext {
	case ".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".sql", ".coffee":
		return strings.TrimSuffix(file, ext)
	}
	return file
}

// numbered splits "00012_add_x" into 12 and "add_x".
func numbered(name string) (version int64, words string, ok bool) {
	number, words, found := strings.Cut(name, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	return version, words, found && err == nil && version > 0
}
