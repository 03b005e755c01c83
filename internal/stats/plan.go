package stats

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Plan is a plan as EXPLAIN (FORMAT JSON) writes it.
type Plan struct {
	Root      PlanNode `json:"Plan"`
	Planning  *float64 `json:"Planning Time"`  // milliseconds, with ANALYZE
	Execution *float64 `json:"Execution Time"` // milliseconds, with ANALYZE
}

// PlanNode is a step of a plan.
type PlanNode struct {
	Type      string   `json:"Node Type"`
	Join      string   `json:"Join Type"`
	Strategy  string   `json:"Strategy"`
	Operation string   `json:"Operation"`
	Parallel  bool     `json:"Parallel Aware"`
	Backward  string   `json:"Scan Direction"`
	Relation  string   `json:"Relation Name"`
	Alias     string   `json:"Alias"`
	Index     string   `json:"Index Name"`
	CTE       string   `json:"CTE Name"`
	Function  string   `json:"Function Name"`
	Subplan   string   `json:"Subplan Name"`
	Cost      float64  `json:"Total Cost"`
	Rows      float64  `json:"Plan Rows"`
	Actual    *float64 `json:"Actual Rows"`       // of a loop
	Time      *float64 `json:"Actual Total Time"` // milliseconds, of a loop
	Loops     *float64 `json:"Actual Loops"`
	Removed   float64  `json:"Rows Removed by Filter"`

	IndexCond   string `json:"Index Cond"`
	RecheckCond string `json:"Recheck Cond"`
	HashCond    string `json:"Hash Cond"`
	MergeCond   string `json:"Merge Cond"`
	JoinFilter  string `json:"Join Filter"`
	Filter      string `json:"Filter"`

	Plans []PlanNode `json:"Plans"`
}

// ParsePlan reads what EXPLAIN (FORMAT JSON) returns.
func ParsePlan(text string) (Plan, error) {
	var plans []Plan
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return Plan{}, fmt.Errorf("read the plan: %w", err)
	}
	if len(plans) != 1 {
		return Plan{}, fmt.Errorf("read the plan: %d plans", len(plans))
	}
	return plans[0], nil
}

// Title says what a step does, in the words of EXPLAIN.
func (n PlanNode) Title() string {
	name := n.Type
	switch n.Type {
	case "Aggregate":
		name = map[string]string{"Sorted": "GroupAggregate", "Hashed": "HashAggregate",
			"Mixed": "MixedAggregate"}[n.Strategy]
		if name == "" {
			name = n.Type
		}
	case "ModifyTable":
		name = n.Operation
	case "Nested Loop", "Hash Join", "Merge Join":
		if n.Join != "" && n.Join != "Inner" {
			name = strings.TrimSuffix(n.Type, " Join") + " " + n.Join + " Join"
		}
	case "SetOp":
		name = n.Strategy + " SetOp"
	}
	if n.Parallel {
		name = "Parallel " + name
	}
	if n.Backward == "Backward" {
		name += " Backward"
	}
	if n.Index != "" {
		if n.Type == "Bitmap Index Scan" {
			return name + " on " + n.Index
		}
		name += " using " + n.Index
	}
	for _, of := range []string{n.Relation, n.CTE, n.Function} {
		if of != "" {
			name += " on " + of
			break
		}
	}
	return name
}

// PlanLine is a line of a plan: a step, or a condition of the one above it.
type PlanLine struct {
	Depth     int
	Text      string
	Node      *PlanNode // nil for a condition
	Condition bool
}

// Lines returns a plan for people, the last step first.
func (p Plan) Lines() []PlanLine {
	var out []PlanLine
	p.Root.walk(0, func(n *PlanNode, depth int) {
		if n.Subplan != "" {
			out = append(out, PlanLine{Depth: depth, Text: n.Subplan, Condition: true})
		}
		out = append(out, PlanLine{Depth: depth, Text: n.Title(), Node: n})
		for _, c := range []struct{ name, text string }{{"Index Cond", n.IndexCond}, {"Recheck Cond", n.RecheckCond},
			{"Hash Cond", n.HashCond}, {"Merge Cond", n.MergeCond}, {"Join Filter", n.JoinFilter}, {"Filter", n.Filter}} {
			if c.text != "" {
				out = append(out, PlanLine{Depth: depth + 1, Text: c.name + ": " + c.text, Condition: true})
			}
		}
	})
	return out
}

// Shape is what plans have in common that do the same in the same order, whatever they
// cost. A schema in the names of indexes does not tell them apart.
func (p Plan) Shape(schema string) string {
	var b strings.Builder
	p.Root.walk(0, func(n *PlanNode, depth int) {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", depth), strings.ReplaceAll(n.Title(), schema, tenantSign))
	})
	return b.String()
}

// Relations returns the names of the tables that the plan reads.
func (p Plan) Relations() []string {
	return p.names(func(n *PlanNode) string { return n.Relation })
}

// Indexes returns the names of the indexes that the plan uses.
func (p Plan) Indexes() []string { return p.names(func(n *PlanNode) string { return n.Index }) }

func (p Plan) names(of func(*PlanNode) string) []string {
	out := []string{}
	seen := map[string]bool{"": true}
	p.Root.walk(0, func(n *PlanNode, _ int) {
		if name := of(n); !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	})
	return out
}

func (n *PlanNode) walk(depth int, visit func(*PlanNode, int)) {
	visit(n, depth)
	for i := range n.Plans {
		n.Plans[i].walk(depth+1, visit)
	}
}
