package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// parseSize reads "500GB", "1.5 TiB" or a number of bytes; "" is 0.
func parseSize(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	units := map[string]float64{"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
	parts := regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z]*)$`).FindStringSubmatch(text)
	if parts != nil {
		n, err := strconv.ParseFloat(parts[1], 64)
		if unit, known := units[strings.ToLower(parts[2])]; known && err == nil && n > 0 && n*unit < math.MaxInt64/2 {
			return int64(n * unit), nil
		}
	}
	return 0, cli.Usagef("%s %s: want a size such as 500GB or 2TiB", flag, text)
}

// historyColumn has the sizes that were recorded and the present one, as a curve.
func (s *sizesScreen) historyColumn() cli.Column[sizeRow] {
	type point struct {
		At    time.Time `json:"at"`
		Bytes int64     `json:"size_bytes"`
	}
	c := cli.Column[sizeRow]{Name: "history", Document: s.history == nil, Optional: s.history == nil}
	c.Value = ofTenant(func(t stats.TenantSize) any {
		if s.history == nil {
			return nil
		}
		points := []point{}
		var curve []int64
		for _, p := range s.history[t.ID] {
			points = append(points, point{p.At.UTC(), p.Bytes})
			curve = append(curve, p.Bytes)
		}
		if t.Known {
			curve = append(curve, t.TotalBytes())
		}
		return cli.Either{Human: sparkline(curve, s.p.Unicode), Machine: len(points), Document: points}
	})
	return c
}

// sparkline returns a curve from the least of the values to the greatest; one that never
// changes is flat.
func sparkline(values []int64, unicode bool) string {
	if len(values) < 2 {
		return ""
	}
	steps := []rune("▁▂▃▄▅▆▇█")
	if !unicode {
		steps = []rune("_.-=^")
	}
	least, most := values[0], values[0]
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	out := make([]rune, len(values))
	for i, v := range values {
		out[i] = steps[0]
		if most > least {
			out[i] = steps[int(math.Round(float64(v-least)/float64(most-least)*float64(len(steps)-1)))]
		}
	}
	return string(out)
}

// century is, in days, as far as a date makes sense.
const century = 36500.0

// forecast says when the capacity will be reached.
func (s *sizesScreen) forecast() []string {
	if s.capacity == 0 {
		return nil
	}
	size := cli.HumanSize(s.capacity)
	perDay, known := s.report.PerDay()
	switch days, reached := s.report.DaysUntil(s.capacity); {
	case reached && days == 0:
		return []string{size + " are reached"}
	case !known:
		return []string{size + ": no sample is a day old, so nothing can be said; --record keeps one"}
	case !reached:
		return []string{fmt.Sprintf("%s will not be reached: the tenants do not grow (%s a day)", size,
			cli.HumanSize(int64(perDay)))}
	default:
		line := fmt.Sprintf("%s will be reached in %.0f days, at +%s a day", size, days, cli.HumanSize(int64(perDay)))
		if days < century {
			line += ", on " + s.p.Show.Human(cli.Day(s.report.At.Add(time.Duration(days*24*float64(time.Hour)))))
		}
		return []string{line}
	}
}
