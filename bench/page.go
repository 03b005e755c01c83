package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	pageHead = `# How fast it is, and how it grows

This page, its table and its plot are written by ` + "`make bench-scale`" + `, ` + "`make bench-network`" + ` and
` + "`make bench-peers`" + `; none of it is edited by hand. Compare figures of one run with each other: the speed of a machine drifts by up to
two times within an hour. What is promised is the shape: what crmctl does to a whole fleet costs about as
much for each tenant in a large fleet as in a small one, and what it does to one tenant costs the same
whatever stands beside it.

`
	pageRepeat = `
## To repeat it

    make bench-scale                       # 1,000, 2,000, 5,000 and 10,000 tenants
    make bench-scale SIZES=1000,2000       # smaller
    make bench-network                     # behind round trips of 0, 1, 5 and 20 ms
    make bench-peers BENCHFLAGS='-write docs'   # the programs beside crmctl; needs npm

It needs Go and the server programs of PostgreSQL (CRMCTL_PG_BIN names their directory), and makes a
cluster of its own for each size in /var/tmp (-root), with fsync on. A tenant has four tables and eleven
indexes. One that was used before would be measured with what the files of the former fleet have done to the
disk: ext4 takes minutes to make files as fast again after thousands were dropped. Steps that change
nothing run three times, and the median counts.
`
)

// page returns the page of figures.
func (r *record) page() string {
	var s strings.Builder
	s.WriteString(pageHead)
	m := r.Machine
	fmt.Fprintf(&s, "Measured on %s: crmctl %s, PostgreSQL %s, %s, %s, %d cores (%s), memory %s, %d connections.\n",
		m.Date, m.Crmctl, m.PostgreSQL, m.Go, m.System, m.Cores, m.CPU, m.Memory, m.Workers)
	fmt.Fprintf(&s, "The load of the machine was %s when it began.\n", m.Load)
	s.WriteString("Server settings:")
	for i, name := range sortedNames(serverSettings) {
		if i > 0 {
			s.WriteString(",")
		}
		fmt.Fprintf(&s, " `%s=%s`", name, serverSettings[name])
	}
	s.WriteString(".\n")
	r.scalePart(&s)
	r.networkPart(&s)
	r.peerPart(&s)
	s.WriteString(pageRepeat)
	return s.String()
}

func sortedNames(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// scalePart writes the table of sizes.
func (r *record) scalePart(s *strings.Builder) {
	if len(r.Scale) == 0 {
		return
	}
	s.WriteString("\n## One fleet, several sizes\n\nSeconds, and how the cost of a tenant compares with that in the " +
		"smallest fleet (for what is\ndone to one tenant or to a hundred: the cost of it all). Memory is the " +
		"client's at its peak.\n\n![the cost of a tenant by the size of the fleet](performance.svg)\n\n|")
	for _, size := range r.Scale {
		fmt.Fprintf(s, " | %s tenants", thousands(size.Tenants))
	}
	s.WriteString(" | growth | memory | connections | locks |\n|---|")
	s.WriteString(strings.Repeat("---:|", len(r.Scale)+4) + "\n")
	for i, first := range r.Scale[0].Results {
		fmt.Fprintf(s, "| %s", first.Step)
		last := first
		var memory int64
		connections, locks := 0, 0
		for _, size := range r.Scale {
			last = size.Results[i]
			fmt.Fprintf(s, " | %s", secondsText(last.Seconds))
			memory, connections, locks = max(memory, last.Memory), max(connections, last.Connections), max(locks, last.Locks)
		}
		fmt.Fprintf(s, " | %.2fx | %d MB | %d | %s |\n", r.growth(i), memory/1_000_000, connections, thousands(locks))
	}
}

// growth returns how many times what a tenant costs in the largest fleet it costs in the
// smallest.
func (r *record) growth(step int) float64 {
	first, last := r.Scale[0], r.Scale[len(r.Scale)-1]
	return last.cost(step) / first.cost(step)
}

// cost returns the seconds of a step, for each tenant where it is the fleet's.
func (s scaleSize) cost(step int) float64 {
	r := s.Results[step]
	if r.PerFleet {
		return r.Seconds / float64(s.Tenants)
	}
	return r.Seconds
}

// peerPart writes the tables of peers.
func (r *record) peerPart(s *strings.Builder) {
	for _, t := range r.Peers {
		fmt.Fprintf(s, "\n## Beside other programs: %s tenants\n\nTenants a second, and in brackets how many times as fast "+
			"crmctl is; medians of %d rounds on one\nserver. \"The statements alone\" is a program that sends them over as "+
			"many connections and does nothing else:\nthe limit of this server. The others find their schemas made.\n\n|",
			thousands(t.Tenants), t.Rounds)
		for _, phase := range phases {
			s.WriteString(" | " + phase.name)
		}
		s.WriteString(" | memory |\n|---|" + strings.Repeat("---:|", len(phases)+1) + "\n")
		for _, row := range t.Rows {
			s.WriteString("| " + row.Name)
			for j, rate := range row.Rates {
				if rate == 0 {
					s.WriteString(" |")
					continue
				}
				fmt.Fprintf(s, " | %s", thousands(int(math.Round(rate))))
				if row.Ratios[j] > 0 {
					fmt.Fprintf(s, " (%.1fx)", row.Ratios[j])
				}
			}
			s.WriteString(" | " + row.Memory + " |\n")
		}
	}
}

// secondsText is a number of seconds with as many digits as mean something.
func secondsText(s float64) string {
	switch {
	case s < 0.1:
		return fmt.Sprintf("%.3f", s)
	case s < 10:
		return fmt.Sprintf("%.2f", s)
	}
	return fmt.Sprintf("%.1f", s)
}

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
