// Package account is who somebody is: registration, login, access and refresh
// tokens, logout, the profile.
//
// What holds here, and where:
//
//   - Password hashes cost memory, so at most Config.Hashes are computed at
//     once and a bounded number of callers waits, for a bounded time; everybody
//     else is told overloaded. A place is given back on every path. (hasher)
//   - Every login that reads the store computes exactly one hash with the
//     parameters of new accounts, whether the address is known or not.
//   - A refresh token is stored as its SHA-256 only. It works once: the store
//     rotates it in one transaction, and the second use ends its session.
//   - The sessions that ended within the life of an access token are in memory
//     (endedSessions). A session enters that set before the call that ended it
//     here returns, and within followEvery when it was ended elsewhere: the
//     store is followed, and the cache, asked when a token is met for the first
//     time, can only be quicker. It
//     leaves when no access token of it can be alive. Until the set was loaded
//     once, no access token is accepted.
//   - An access token is at most Config.TokenLife old, whatever its exp says,
//     so the set above is complete even after the life was shortened.
//   - A token that was verified is remembered by its whole text with the times
//     between which it is good (tokenCache). Signature and claims of a text
//     never change, and the two things that do, the time and whether its
//     session ended, are looked at each time. So a remembered token is accepted
//     exactly when verifying it anew would accept it.
//
// All methods of [Account] are safe for concurrent use. The only shared memory
// is the set of ended sessions (a sync.Map), the remembered tokens (immutable
// entries behind atomic pointers) and the places for hashing (a channel and a
// counter). Run is the only goroutine's owner.
package account
