package importer

// Field is what a column of a file can become of a contact.
type Field string

// The fields of a contact that a column can be mapped to.
const (
	FieldEmail     Field = "email"
	FieldPhone     Field = "phone"
	FieldName      Field = "name"
	FieldFirstName Field = "first_name" // makes the name where none is given, and stays in metadata
	FieldLastName  Field = "last_name"
	FieldCompany   Field = "company"
	FieldCreatedAt Field = "created_at"
	FieldMetadata  Field = "metadata" // under the key of its ColumnPlan
	FieldSkip      Field = "-"        // left out
)
