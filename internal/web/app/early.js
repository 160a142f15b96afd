// Asks for what a visitor sees first while the rest of the app still loads. It
// imports nothing and comes first.

function isVisitor() {
  try {
    return localStorage.getItem('vote.user') === null;
  } catch {
    return true;
  }
}

/** The answer of the popular polls, or null when somebody is signed in or another page is open. */
export const popular =
  location.pathname === '/' && isVisitor()
    ? fetch('/api/polls/popular?limit=10', { headers: { accept: 'application/json' } })
        .then((response) => (response.ok ? response.json() : null))
        .catch(() => null)
    : null;
