// Package rabbitmq is the engine for events that several processes share: a
// [Bus] over a RabbitMQ broker, 3.10 or newer.
//
// Invariants.
//
// Publishing: Publish returns nil only after the broker has confirmed every
// message and has returned none of them as unroutable. A returned message is
// confirmed too, behind its return: one goroutine takes both from the channel,
// one after the other, so a confirm is never judged before the return that
// belongs to it. Messages are persistent and queues are replicated. Nothing
// waits without a bound: for the connection, the socket, the confirm, or a
// place among the messages under way.
//
// Consuming: a message is acknowledged only after each of its events was
// handled, or lies in the error queue, confirmed. Until then it is the broker's
// to deliver again, whatever happens to the process. What a consumer holds
// belongs to its goroutine alone, and is at most the prefetch count of messages
// of bounded size.
//
// Dying: every queue sends what outlives its life to its error queue, at least
// once: the queue keeps a message until the error queue has confirmed it. Both
// are bounded and refuse what does not fit, so that a full error queue fills
// its queue, which makes Publish fail, and the events wait in the outbox. A
// process that is given [Options].DeadLetter moves what is in the error queues
// there, and acknowledges it afterwards.
//
// Every connection begins by declaring the whole topology, so what was deleted,
// or lost with a broker, is made anew.
package rabbitmq
