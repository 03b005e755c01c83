package source

import (
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// plainCalls are functions of PostgreSQL's that make a text of texts, and words that may
// stand before a parenthesis.
var plainCalls = strings.Fields(`
	coalesce nullif lower upper trim btrim ltrim rtrim concat concat_ws format replace translate substr substring left
	right split_part regexp_replace length char_length md5 now count min max bool_or bool_and string_agg to_char
	date_trunc jsonb_extract_path_text json_extract_path_text row_number cast greatest least extract overlay lpad rpad
	initcap reverse
	in from exists and or not as over filter union all any some on select where when then else case array row using
	varchar char character numeric values except intersect join by having is distinct partition order with`)

// CheckPlain returns an error where the query calls a function that does more than to make
// texts, or one of the application's: for a query that somebody else may have written, into a
// file that came along with a directory.
func (q Query) CheckPlain() error {
	tokens := sqltext.Tokens(q.text)
	for i, t := range tokens {
		if i+1 == len(tokens) || !tokens[i+1].Is("(") || t.Name() == "" {
			continue
		}
		qualified := i > 0 && tokens[i-1].Is(".") && !(i > 1 && tokens[i-2].Name() == "pg_catalog")
		if qualified || !slices.Contains(plainCalls, t.Name()) {
			return refuse("calls %s(), which is not taken from a file of the working directory", t.Name())
		}
	}
	return nil
}
