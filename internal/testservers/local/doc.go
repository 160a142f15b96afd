// Package local runs PostgreSQL, PgBouncer, Redis with Sentinel and RabbitMQ as
// children of this process, from the programs of the Debian packages: each in a
// temporary folder on a free port of 127.0.0.1, with the configuration file that
// the project ships in deploy and, where the machine is smaller, what overrides
// it.
//
// What holds: a server does not outlive this process, not even its SIGKILL; root
// runs none itself but gives each to the account of its package; a port is kept
// while its server is down; every wait is bounded, and what fails shows the end
// of the server's log. A folder whose process was killed is removed by the next
// one that makes a folder.
//
// It exists on Linux alone.
package local
