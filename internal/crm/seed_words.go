package crm

// The words of the sample data.
var (
	seedFirstNames = []string{
		"Ada", "Alan", "Amara", "Anna", "Ben", "Carla", "Chen", "Clara", "David", "Elena", "Emil", "Fatima", "Felix",
		"Grace", "Hana",
		"Hugo", "Ines", "Ivan", "Jonas", "Julia", "Kofi", "Lars", "Leila", "Lucia", "Marco", "Maya", "Milan", "Nadia",
		"Noor", "Olga",
		"Omar", "Paula", "Priya", "Rosa", "Samir", "Sofia", "Tariq", "Tessa", "Viktor", "Yuki",
	}
	seedLastNames = []string{
		"Abara", "Almeida", "Andersen", "Bauer", "Bianchi", "Cohen", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia",
		"Haddad", "Hansen",
		"Ito", "Ivanov", "Jansen", "Kaya", "Keller", "Khan", "Kowalski", "Lang", "Larsen", "Lopez", "Martin", "Mensah",
		"Moreau", "Novak",
		"Okafor", "Patel", "Petrov", "Rossi", "Santos", "Schmidt", "Silva", "Singh", "Tanaka", "Vogel", "Wagner",
		"Weber", "Yilmaz",
	}
	seedCompanies = []string{
		"Alder & Oak", "Bluewater Logistics", "Brightline Studio", "Cedar Clinic", "Copper Kettle", "Eastgate Motors",
		"Fernhill Farms",
		"Granite Works", "Harbour Books", "Juniper Software", "Lakeside Dental", "Larkspur Travel", "Maple Street Bakery",
		"Northwind Energy",
		"Orchard Foods", "Pinecrest Hotels", "Quarry Tools", "Redbrick Homes", "Riverbend Media", "Silver Thimble",
		"Stonebridge Legal",
		"Summit Bikes", "Tidewater Shipping", "Willow Gardens",
	}
	seedCities = []string{"Amsterdam", "Barcelona", "Berlin", "Copenhagen", "Dublin", "Lisbon", "London", "Lyon",
		"Milan", "Oslo", "Prague", "Vienna", "Warsaw", "Zurich"}
	seedSources  = []string{"website", "referral", "trade fair", "newsletter", "webinar", "cold call"}
	seedTags     = []string{"lead", "customer", "partner", "press", "vip"}
	seedPrefixes = []string{"+1 212", "+31 20", "+33 1", "+34 93", "+39 02", "+43 1", "+44 20", "+45 33",
		"+48 22", "+49 30"}
	seedChannels = []string{"email", "email", "sms", "whatsapp", "chat", "phone"}
	seedStatuses = []string{"open", "pending", "closed", "closed"}
	seedSubjects = []string{"Invoice for last month", "Delivery date", "New contract", "Password reset", "Price list",
		"Appointment", "Broken parts", "Refund", "Product demo", "Opening hours"}
	seedQuestions = []string{
		"Hello, I have a question about the %s. Could you call me back?",
		"We are still waiting for news about the %s.",
		"Thank you for your help! One more thing about the %s: who do I talk to?",
		"Is there an update on the %s? It is getting urgent.",
		"Everything about the %s is fine now, many thanks.",
	}
	seedAnswers = []string{
		"Dear %s, thank you for writing. We look into it and answer by tomorrow.",
		"Hi %s, this is done. Please let us know whether it works for you.",
		"Hello %s, could you send us your customer number?",
		"Dear %s, we have passed it on to the colleague who knows most about it.",
	}
)
