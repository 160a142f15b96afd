// The shapes of the HTTP API, as /openapi.json describes them. Nothing here runs.

/**
 * @typedef {object} Poll
 * @property {number} id
 * @property {string} title
 * @property {string[]} options
 * @property {string[]} tags
 * @property {string} createdAt
 * @property {{id: number, username: string} | null} author
 * @property {number} totalVotes
 * @property {{voted: boolean, optionIndex: number | null, skipped: boolean}} [viewer]
 */

/**
 * @typedef {object} OptionStats
 * @property {number} optionIndex
 * @property {string} option
 * @property {number} count
 * @property {number} percentage
 */

/**
 * @typedef {object} Stats
 * @property {number} pollId
 * @property {number} version votes and skips counted; a higher one is newer
 * @property {number} totalVotes
 * @property {number} totalSkips
 * @property {OptionStats[]} votes
 * @property {string} updatedAt
 */

/** @typedef {{polls: Poll[], nextCursor: string | null}} FeedPage */

/** @typedef {{id: number, username: string, email: string, createdAt: string}} User */

/** @typedef {{user: User, token: string, expiresAt: string}} Session */

/**
 * @typedef {User & {
 *   votesToday: number,
 *   votesRemainingToday: number | null,
 *   totals: {votes: number, skips: number, polls: number},
 * }} Profile
 */

/**
 * @typedef {object} Verdict what became of one member of a batch
 * @property {number} pollId
 * @property {number} status
 * @property {string} [code]
 * @property {string} [detail]
 * @property {number} [optionIndex]
 * @property {number | null} [votesRemainingToday]
 * @property {number} [retryAfter] seconds
 */

/**
 * @typedef {object} Choice a vote or a skip of the person who is signed in
 * @property {string} key tells one choice from another
 * @property {number} pollId
 * @property {string} title
 * @property {number | null} optionIndex null for a skip
 * @property {string} [option] its text
 */

export {};
