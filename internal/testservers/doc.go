// Package testservers gives tests the real PostgreSQL, PgBouncer, Redis,
// Sentinel and RabbitMQ.
//
// Most tests share servers, whose addresses stand in the environment: make test
// provides them for its run, make services for a day. A test gets a place of its
// own in them, which goes with the test: Database, PgBouncer, RabbitMQ; of
// Redis, which has no such places, the address alone.
//
// Tests that stop, kill or flush a server start one of their own.
package testservers
