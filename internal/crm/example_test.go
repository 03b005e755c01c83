package crm_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// A contact is added, gets a message, and is found by a word of it.
func Example() {
	t := &exampleTB{ctx: context.Background()}
	defer t.end()
	conn, schema := crmtest.Tenant(t) // the schema as the registry knows it
	ctx := t.Context()

	tenant, err := crm.Open(ctx, conn, crm.Options{Schema: schema, Region: "DE"})
	if err != nil {
		fmt.Println(err)
		return
	}
	email, number := "Ada@Example.com", "030 1234567"
	err = tenant.Write(ctx, conn, func(ctx context.Context, w *crm.Writer) error {
		ada, err := w.AddContact(ctx, crm.ContactChange{Email: &email, Phone: &number})
		if err != nil {
			return err
		}
		talk, err := w.OpenConversation(ctx, crm.NewConversation{Contact: ada.ID, Channel: "email"})
		if err != nil {
			return err
		}
		_, err = w.AppendMessage(ctx, crm.NewMessage{Conversation: talk.ID, Direction: crm.Inbound,
			Content: "Where are my invoices?"})
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = tenant.Read(ctx, conn, func(ctx context.Context, r *crm.Reader) error {
		ada, err := r.Contact(ctx, "ada@example.com")
		if err != nil {
			return err
		}
		hits, err := r.SearchMessages(ctx, "invoice", 10)
		if err != nil {
			return err
		}
		fmt.Println(ada.Email, ada.Phone, len(hits.Rows), hits.Rows[0].Snippet)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: ada@example.com +49301234567 1 [{Where are my  false} {invoices true}]
}

// exampleTB lends an example what tests have.
type exampleTB struct {
	testing.TB

	ctx context.Context
	did []func()
}

func (t *exampleTB) Helper()                           {}
func (t *exampleTB) Context() context.Context          { return t.ctx }
func (t *exampleTB) Cleanup(f func())                  { t.did = append(t.did, f) }
func (t *exampleTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTB) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTB) Logf(string, ...any)               {}
func (t *exampleTB) Name() string                      { return "Example" }
func (t *exampleTB) Failed() bool                      { return false }

func (t *exampleTB) end() {
	for _, f := range slices.Backward(t.did) {
		f()
	}
}
