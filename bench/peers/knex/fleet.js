// Migrates a fleet of schemas with knex in one process, k tenants at once:
//
//	node fleet.js DIRECTORY K < names-of-schemas
//
// knex comes from NODE_PATH, the address of the database from DATABASE_URL's parts.
const knex = require('knex')
const fs = require('fs')

const [directory, k] = [process.argv[2], Number(process.argv[3])]
const schemas = fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)
const connection = {
  host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER, database: process.env.PGDATABASE,
}

async function worker() {
  for (let schema = schemas.shift(); schema; schema = schemas.shift()) {
    const db = knex({ client: 'pg', connection, searchPath: [schema], pool: { min: 0, max: 1 } })
    try {
      await db.migrate.latest({ directory })
    } finally {
      await db.destroy()
    }
  }
}

Promise.all(Array.from({ length: k }, worker)).catch((err) => {
  console.error(err)
  process.exitCode = 1
})
