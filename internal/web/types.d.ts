// The shapes of the HTTP API as the app uses them; /openapi.json describes them
// all. For the checker of types only: browsers do not get this file.

export interface Poll {
  id: number;
  title: string;
  options: string[];
  tags: string[];
  createdAt: string;
  author: { id: number; username: string } | null;
  totalVotes: number;
  /** Votes are no longer taken. */
  closed?: boolean;
  viewer?: { voted: boolean; optionIndex: number | null; skipped: boolean };
}

export interface OptionStats {
  optionIndex: number;
  option: string;
  count: number;
  percentage: number;
}

export interface Stats {
  pollId: number;
  /** Votes and skips counted; a higher one is newer. */
  version: number;
  totalVotes: number;
  totalSkips: number;
  votes: OptionStats[];
  updatedAt: string;
}

export interface FeedPage {
  polls: Poll[];
  nextCursor: string | null;
}

export interface User {
  id: number;
  username: string;
  email: string;
  createdAt: string;
}

export interface Session {
  user: User;
  token: string;
  expiresAt: string;
}

export interface Profile extends User {
  votesToday: number;
  votesRemainingToday: number | null;
  totals: { votes: number; skips: number; polls: number };
}

/** What became of one member of a batch. */
export interface Verdict {
  pollId: number;
  status: number;
  code?: string;
  detail?: string;
  optionIndex?: number;
  votesRemainingToday?: number | null;
  /** Seconds. */
  retryAfter?: number;
}

/** A vote or a skip of the person who is signed in. */
export interface Choice {
  /** Tells one choice from another. */
  key: string;
  pollId: number;
  title: string;
  /** Null for a skip. */
  optionIndex: number | null;
  /** Its text. */
  option?: string;
}
